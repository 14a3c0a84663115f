"""What every operation on rules needs: to read one, to change it safely, and to cut lists into pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError, ValidationFailed
from lambent_platform.contracts.schedules import DEFAULT_BUS, RULES_MAX, SourceRecord, rule_id
from lambent_platform.core.schedules.timelines import first_tick, ticks_on
from lambent_platform.gateway.aws.registry import Params, RequestContext
from lambent_platform.store.schedules import ScheduleStore

WRITE_TRIES: Final = 20
PAGE_ITEMS: Final = 100

T = TypeVar("T")
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAccess:
    """Reads and changes rules."""

    schedules: ScheduleStore
    clock: EventClock

    async def find(self, context: RequestContext, name: str, params: Params) -> SourceRecord | None:
        """Read a rule of the default bus; None where there is none.

        Raises:
            ApiError: ResourceNotFoundException for another bus.
        """
        check_bus(params.get("EventBusName", DEFAULT_BUS))
        return await self.schedules.load(rule_id(context.account, context.region, name))

    async def read(self, context: RequestContext, name: str, params: Params) -> SourceRecord:
        """Read a rule.

        Raises:
            ApiError: ResourceNotFoundException.
        """
        record = await self.find(context, name, params)
        if record is None:
            raise not_found(f"Rule {name} does not exist on EventBusName {DEFAULT_BUS}.")
        return record

    async def change(
        self, context: RequestContext, name: str, params: Params, decide: Callable[[Data], tuple[Data, T]]
    ) -> T:
        """Change a rule: `decide` gets its data and returns what it becomes, and a result; it may be asked again.

        Raises:
            ApiError: ResourceNotFoundException; ConcurrentModificationException.
        """
        for _ in range(WRITE_TRIES):
            before = await self.read(context, name, params)
            data, result = decide(before.data)
            if data is before.data or await self.write(replace(before, data=data), before):
                return result
        raise busy()

    async def write(self, record: SourceRecord, before: SourceRecord | None) -> bool:
        """Write a rule with its next tick; False where it was changed since it was read."""
        after = replace(record, next_ms=first_tick(record, now_ms=self.clock.now_ms()))
        return await self.schedules.write(after, keep_next=before is not None and ticks_on(before, after))

    async def all(self, context: RequestContext, prefix: str = "") -> list[SourceRecord]:
        """Read every rule whose name begins so, by name; there are a few hundred at most."""
        ids = await self.schedules.page(rule_id(context.account, context.region, prefix), limit=RULES_MAX)
        return await self.schedules.load_many(ids)


def check_bus(name: str) -> None:
    """Check that a bus is the one that there is, by name or ARN.

    Raises:
        ApiError: ResourceNotFoundException.
    """
    if name != DEFAULT_BUS and not name.endswith(f":event-bus/{DEFAULT_BUS}"):
        raise not_found(f"Event bus {name.rpartition('/')[2]} does not exist.")


def not_found(message: str) -> ApiError:
    """Return the error for what does not exist."""
    return ApiError(message, code="ResourceNotFoundException", status=400)


def busy() -> ApiError:
    """Return the error for a rule that others change faster than this request does."""
    return ApiError("Rule is being modified by another request.", code="ConcurrentModificationException", status=400)


def page(items: Sequence[T], params: Params) -> tuple[Sequence[T], str | None]:
    """Cut one page out of a list by `NextToken` and `Limit`; returns it and the token of the next.

    Raises:
        ValidationFailed: the token is none of ours.
    """
    try:
        start = int(base64.b64decode(params.get("NextToken", "MA=="), validate=True))
    except ValueError:
        raise ValidationFailed("Parameter NextToken is not valid.") from None
    end = start + params.get("Limit", PAGE_ITEMS)
    return items[start:end], base64.b64encode(str(end).encode()).decode() if len(items) > end else None
