"""What went wrong in a build, from the last lines of its log.

Pure. The tools say it in their own words, which is what people search for: those words become the function's
StateReason. Source of npm's codes: npm CLI, "Common errors"; of pip's lines: pip 22 to 25.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lambent_platform.contracts.runtimes import Language

LINE_CHARACTERS_MAX: Final = 500

_NETWORK: Final = re.compile(
    r"Temporary failure (?:in name resolution|resolving)|Name or service not known|getaddrinfo|Could not resolve host"
    r"|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionResetError|ProtocolError|ProxyError"
    r"|RemoteDisconnected|Connection refused|Connection reset|Network is unreachable|No route to host|timed out"
    r"|i/o timeout|TLS handshake timeout|HTTP error 5\d\d"
    r"|5\d\d (?:Server Error|Internal Server|Bad Gateway|Service Un)",
)
_PIP_UNKNOWN: Final = re.compile(r"from versions: none\)|No matching distribution found")
_PIP_DECISIVE: Final = (
    re.compile(r"ERROR: No matching distribution found for .+"),
    re.compile(r"ERROR: Could not find a version that satisfies .+"),
    re.compile(
        r"ERROR: (?:Invalid requirement|Could not open requirements file|ResolutionImpossible|Cannot install) ?.*"
    ),
    re.compile(r"ERROR: (?:Failed building wheel|Could not build wheels|Failed to build) .+"),
    re.compile(r"ERROR: .+"),
    re.compile(r"error: .+"),
)
_NPM: Final = re.compile(r"^npm (?:ERR!|error) ?(.*)$")
_NPM_CODE: Final = re.compile(r"^code ([A-Z0-9_]+)$")
_NPM_NETWORK: Final = frozenset(
    {
        "EAI_AGAIN", "ENOTFOUND", "ECONNRESET", "ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH",
        "ERR_SOCKET_TIMEOUT", "FETCH_ERROR", "EPROTO", "E429", "E500", "E502", "E503", "E504",
    }
)  # fmt: skip
_ENGINE_NETWORK: Final = re.compile(
    r"Temporary failure|no such host|i/o timeout|TLS handshake timeout|connection refused|connection reset"
    r"|Client\.Timeout exceeded|network is unreachable|Service Unavailable|toomanyrequests|server misbehaving",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What failed, in the tool's own words, and whether the package can be blamed for it."""

    reason: str
    permanent: bool


def of_install(language: Language, log_tail: str) -> Diagnosis:
    """Say why an install ended with an exit code other than 0."""
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    found = _of_npm(lines) if language == "nodejs" else _of_pip(lines)
    if found is not None:
        return Diagnosis(found.reason[:LINE_CHARACTERS_MAX], found.permanent)
    last = lines[-1] if lines else "The install failed without a word."
    return Diagnosis(last[:LINE_CHARACTERS_MAX], not _NETWORK.search(last))


def of_image(error: str, log_tail: str) -> Diagnosis:
    """Say why an image could not be built; `error` is the engine's own message."""
    permanent = not _ENGINE_NETWORK.search(error) and not _NETWORK.search("\n".join(log_tail.splitlines()[-20:]))
    return Diagnosis(error.strip()[:LINE_CHARACTERS_MAX], permanent)


def _of_pip(lines: list[str]) -> Diagnosis | None:
    """pip also says "no matching distribution" when its index cannot be reached: its warnings tell which it is."""
    for pattern in _PIP_DECISIVE:
        line = next((line for line in reversed(lines) if pattern.match(line)), None)
        if line is None:
            continue
        unreachable = any(_NETWORK.search(other) for other in lines if "WARNING: Retrying" in other)
        if _PIP_UNKNOWN.search(line) and unreachable:
            none_seen = any("from versions: none" in other for other in lines)
            return Diagnosis(line, permanent=not none_seen)
        return Diagnosis(line, permanent=not (_NETWORK.search(line) and "subprocess" not in line))
    return None


def _of_npm(lines: list[str]) -> Diagnosis | None:
    """npm says a code, then the decisive line, then advice."""
    said = [match[1].strip() for line in lines if (match := _NPM.match(line)) and match[1].strip()]
    if not said:
        return None
    at = next((n for n in range(len(said) - 1, -1, -1) if _NPM_CODE.match(said[n])), None)
    if at is None:
        return Diagnosis(f"npm error {said[0]}", permanent=not _NETWORK.search(said[0]))
    match = _NPM_CODE.match(said[at])
    code = match[1] if match else ""
    rest = [line for line in said[at + 1 :] if not re.match(r"^(?:syscall|errno|path|command|dest|type) ", line)]
    words = rest[0] if rest else ""
    return Diagnosis(f"npm error {code}: {words}".rstrip(": "), permanent=code not in _NPM_NETWORK)
