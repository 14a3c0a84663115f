"""Names and ARNs: how a function, a version and an alias are told apart.

Source: Lambda API reference, "FunctionName" patterns of each operation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION

LATEST = "$LATEST"

_FUNCTION = re.compile(
    r"^(?:arn:(?:aws[a-zA-Z-]*):lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):function:"
    r"|(?P<account2>\d{12}):function:|function:)?(?P<name>[a-zA-Z0-9-_]{1,64})(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]{1,128}))?$"
)


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function as a client names it: bare name, partial ARN or full ARN, with an optional qualifier."""

    name: str
    qualifier: str | None = None
    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION

    @classmethod
    def parse(cls, text: str, *, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION) -> FunctionRef | None:
        """Read any of the forms that Lambda accepts; None where the text is none of them."""
        match = _FUNCTION.match(text)
        if match is None:
            return None
        return cls(
            name=match["name"],
            qualifier=match["qualifier"],
            account=match["account"] or match["account2"] or account,
            region=match["region"] or region,
        )

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def qualified_arn(self) -> str:
        """The ARN with the qualifier, `$LATEST` where none was given."""
        return f"{self.arn}:{self.qualifier or LATEST}"

    @property
    def named_arn(self) -> str:
        """The ARN as it was named: with its qualifier where one was given."""
        return self.qualified_arn if self.qualifier else self.arn

    def at(self, qualifier: str | None) -> FunctionRef:
        """The same function under another qualifier."""
        return replace(self, qualifier=qualifier)

    @property
    def ident(self) -> str:
        """`account:region:name`, how keys on Redis name a function."""
        return f"{self.account}:{self.region}:{self.name}"


def target_id(ident: str, version: str, revision: str) -> str:
    """Name one deployed state of one version: environments are made for it and never outlive it.

    An update of code or configuration gives a version a new revision, so that a call is never placed on an
    environment of what was deployed before.
    """
    return f"{ident}:{version}:{revision}"


def split_target(target: str) -> tuple[str, str, str]:
    """Undo `target_id`: (ident, version, revision)."""
    ident, version, revision = target.rsplit(":", 2)
    return ident, version, revision
