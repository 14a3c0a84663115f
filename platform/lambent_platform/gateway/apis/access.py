"""What every operation on an API needs: to read it, to change it safely, and to cut lists into pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.contracts.clock import EventClock
from lambent_platform.core.apis.problems import bad_request, conflict, not_found
from lambent_platform.core.apis.stages import auto_deployed
from lambent_platform.gateway.apis.sites import Sites
from lambent_platform.gateway.aws.registry import RequestContext, Result
from lambent_platform.store.apis import ApiStore, new_id

WRITE_TRIES: Final = 20
PAGE_ITEMS: Final = 100
PAGE_ITEMS_MAX: Final = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """What the operations work with."""

    apis: ApiStore
    sites: Sites
    clock: EventClock

    def now(self) -> str:
        """Return the moment as the service writes it."""
        return f"{datetime.fromtimestamp(self.clock.now_ms() // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"

    async def read(self, context: RequestContext, api_id: str) -> ApiRecord:
        """Read an API of the caller's account and region.

        Raises:
            ApiError: NotFoundException.
        """
        record = await self.apis.load(api_id)
        if record is None or (record.account, record.region) != (context.account, context.region):
            raise not_found("API", f"{context.account}:{api_id}")
        return record

    async def change(
        self,
        context: RequestContext,
        api_id: str,
        decide: Callable[[ApiRecord], tuple[ApiRecord, T]],
        *,
        deploys: bool = True,
    ) -> T:
        """Change an API: `decide` gets the record and returns the new one and a result; it may be asked again.

        With `deploys`, stages with AutoDeploy show that they serve something new.

        Raises:
            ApiError: NotFoundException; ConflictException where others change it faster than this does.
        """
        for _ in range(WRITE_TRIES):
            before = await self.read(context, api_id)
            after, result = decide(before)
            if after is before:
                return result
            if deploys:
                after = auto_deployed(after, now=self.now(), new_id=new_id)
            if await self.apis.write(before, after):
                self.sites.forget(api_id)
                return result
        raise conflict("Unable to complete operation due to concurrent modification. Please try again later.")


def page(items: Iterable[tuple[str, Mapping[str, Any]]], params: Mapping[str, Any]) -> Result:
    """Cut one page out of a list by `NextToken` and `MaxResults`; a token goes on to be good when its item is deleted.

    Raises:
        ApiError: BadRequestException.
    """
    after, most = read_page(params)
    rest = [(key, item) for key, item in sorted(items) if key > after]
    more = len(rest) > most
    return {"Items": [item for _, item in rest[:most]], "NextToken": make_token(rest[most - 1][0]) if more else None}


def read_page(params: Mapping[str, Any]) -> tuple[str, int]:
    """Return the key behind which a page begins ("" for the first) and how many items it has.

    Raises:
        ApiError: BadRequestException.
    """
    text = params.get("MaxResults", str(PAGE_ITEMS))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= PAGE_ITEMS_MAX:
        raise bad_request(f"Invalid maxResults: it must be between 1 and {PAGE_ITEMS_MAX}")
    try:
        after = base64.b64decode(params.get("NextToken", ""), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise bad_request("Invalid nextToken") from None
    return after, int(text)


def make_token(key: str) -> str:
    """Make an opaque token of the last key on a page."""
    return base64.urlsafe_b64encode(key.encode()).decode()
