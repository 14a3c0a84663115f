"""Cross-origin rules of a function URL: what the platform answers and adds. Pure.

Source: Lambda API reference, "Cors"; Fetch standard, "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Headers = list[tuple[str, str]]


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks what it may do, rather than doing it. `headers` ignore case."""
    return method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers


def preflight_headers(config: Mapping[str, Any], headers: Mapping[str, str]) -> Headers:
    """Return the answer to a preflight; only `Vary` where the origin may not ask."""
    found = _origin_headers(config, headers["Origin"])
    if not _allows(found):
        return found
    methods, names = _strings(config, "AllowMethods"), _strings(config, "AllowHeaders")
    asked = {
        "Access-Control-Allow-Methods": _listed(methods, headers["Access-Control-Request-Method"]),
        "Access-Control-Allow-Headers": _listed(names, headers.get("Access-Control-Request-Headers", "")),
        "Access-Control-Max-Age": str(config["MaxAge"]) if config.get("MaxAge") else "",
    }
    return found + [(name, value) for name, value in asked.items() if value]


def with_cors(config: Mapping[str, Any], origin: str, headers: Sequence[tuple[str, str]]) -> Headers:
    """Return a reply's headers under the URL's rules, which come before what the function says of the same."""
    own = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
    added = _origin_headers(config, origin)
    exposed = ",".join(_strings(config, "ExposeHeaders"))
    if _allows(added) and exposed:
        added.append(("Access-Control-Expose-Headers", exposed))
    return own + added


def _origin_headers(config: Mapping[str, Any], origin: str) -> Headers:
    allowed, credentials = _strings(config, "AllowOrigins"), bool(config.get("AllowCredentials"))
    if "*" in allowed and not credentials:
        return [("Access-Control-Allow-Origin", "*")]
    if not any(_is_like(origin, pattern) for pattern in allowed):
        return [("Vary", "Origin")]
    found = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
    return [*found, ("Access-Control-Allow-Credentials", "true")] if credentials else found


def _allows(headers: Headers) -> bool:
    return any(name == "Access-Control-Allow-Origin" for name, _ in headers)


def _is_like(origin: str, pattern: str) -> bool:
    """Compare with an allowed origin, in which `*` stands for any number of characters of a host."""
    expression = "[^/]*".join(map(re.escape, pattern.split("*"))) if pattern != "*" else ".*"
    return re.fullmatch(expression, origin, re.IGNORECASE) is not None


def _listed(allowed: Sequence[str], asked: str) -> str:
    return asked if "*" in allowed else ",".join(allowed)


def _strings(config: Mapping[str, Any], name: str) -> list[str]:
    return [str(one) for one in config.get(name) or ()]
