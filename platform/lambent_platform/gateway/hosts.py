"""Names below which users' own sites are: everything that comes to one of them is the site's, whatever its path."""

from __future__ import annotations

import re
from typing import Final

_SITE: Final = re.compile(
    r"^(?P<id>[a-z0-9]{1,64})\.(?P<kind>lambda-url|execute-api)\.[a-z0-9-]{1,32}(?:\.|:|$)", re.IGNORECASE
)
FUNCTION_URL: Final = "lambda-url"
API: Final = "execute-api"


def site_id(host: str, kind: str) -> str:
    """Return the id that a `Host` header names under `kind` (`lambda-url`, `execute-api`), "" where it names none."""
    match = _SITE.match(host)
    return match["id"].lower() if match is not None and match["kind"].lower() == kind else ""


def is_site(host: str) -> bool:
    """Whether a `Host` header names any site."""
    return _SITE.match(host) is not None
