"""What every operation on schedules and their groups needs: errors, groups, pages."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError, ValidationFailed
from lambent_platform.contracts.schedules import DEFAULT_GROUP, group_arn
from lambent_platform.gateway.aws.registry import RequestContext
from lambent_platform.store.schedules import GroupStore, ScheduleStore

PAGE_ITEMS: Final = 100
WRITE_TRIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleServices:
    """What the operations work with."""

    schedules: ScheduleStore
    groups: GroupStore
    clock: EventClock

    async def group(self, context: RequestContext, name: str) -> dict[str, Any]:
        """Read a group; the default one is there as soon as somebody looks.

        Raises:
            ApiError: ResourceNotFoundException.
        """
        for _ in range(WRITE_TRIES):
            found = await self.groups.load(context.account, context.region, name)
            if found is not None:
                return found
            if name != DEFAULT_GROUP:
                raise not_found("Schedule group", name)
            made = new_group(context, name, now_ms=self.clock.now_ms())
            await self.groups.write(context.account, context.region, name, None, made)
        raise busy()

    async def active_group(self, context: RequestContext, name: str) -> None:
        """Check that a group takes schedules.

        Raises:
            ApiError: ResourceNotFoundException; ConflictException where it is being deleted.
        """
        if (await self.group(context, name))["State"] == "DELETING":
            raise conflict(f"Schedule group {name} is being deleted.")


def new_group(context: RequestContext, name: str, *, now_ms: int) -> dict[str, Any]:
    """Return a group as it is stored."""
    return {
        "Arn": group_arn(context.account, context.region, name),
        "Name": name,
        "State": "ACTIVE",
        "CreatedMs": now_ms,
        "ModifiedMs": now_ms,
        "Tags": {},
    }


def not_found(kind: str, name: str) -> ApiError:
    """Return the error for what does not exist."""
    return ApiError(f"{kind} {name} does not exist.", code="ResourceNotFoundException", status=404)


def conflict(message: str) -> ApiError:
    """Return the error for what exists already, or is in a state that does not allow this."""
    return ApiError(message, code="ConflictException", status=409)


def busy() -> ApiError:
    """Return the error for what others change faster than this request does."""
    return conflict("It is being changed by other requests; try again.")


def quota_exceeded(message: str) -> ApiError:
    """Return the error for one more than there may be."""
    return ApiError(message, code="ServiceQuotaExceededException", status=402)


def make_token(key: str) -> str:
    """Return the token of the page behind a key."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def read_page(params: Mapping[str, Any]) -> tuple[str, int]:
    """Return the key behind which a page begins ("" for the first), and how many items it has.

    Raises:
        ValidationFailed: the token is none of ours.
    """
    try:
        after = base64.b64decode(params.get("NextToken", ""), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ValidationFailed("Invalid NextToken.") from None
    return after, params.get("MaxResults", PAGE_ITEMS)
