"""Names, and paths, below which users' own sites are: everything that comes there is the site's, whatever it names."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_SITE: Final = re.compile(
    r"^(?P<id>[a-z0-9]{1,64})\.(?P<kind>lambda-url|execute-api)\.[a-z0-9-]{1,32}(?:\.|:|$)", re.IGNORECASE
)
FUNCTION_URL: Final = "lambda-url"
API: Final = "execute-api"
FUNCTION_URL_PATH: Final = "/fn"
API_PATH: Final = "/_api"
_PATHS: Final = (f"{FUNCTION_URL_PATH}/", f"{API_PATH}/")


def site_id(host: str, kind: str) -> str:
    """Return the id that a `Host` header names under `kind` (`lambda-url`, `execute-api`), "" where it names none."""
    match = _SITE.match(host)
    return match["id"].lower() if match is not None and match["kind"].lower() == kind else ""


def is_site(host: str, path: str) -> bool:
    """Whether a request is for any site, by its `Host` header or its path."""
    return _SITE.match(host) is not None or path.startswith(_PATHS)


def site_authority(ident: str, kind: str, region: str, base_url: str) -> tuple[str, str]:
    """Return scheme and authority of a site for whoever came by `base_url`.

    Below a name, its subdomain; an address has none, so there it is `localhost`, whose every subdomain is the same
    machine.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or "localhost"
    try:
        ipaddress.ip_address(host)
        host = "localhost"
    except ValueError:
        pass
    port = f":{parts.port}" if parts.port else ""
    return parts.scheme or "http", f"{ident}.{kind}.{region}.{host}{port}"
