"""Schedules: made, shown, replaced, deleted, listed."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.schedules import DEFAULT_GROUP, SCHEDULES_MAX, SourceRecord, schedule_id
from lambent_platform.core.schedules.requests import schedule_data
from lambent_platform.core.schedules.timelines import first_tick, ticks_on
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.scheduler_api.access import (
    WRITE_TRIES,
    ScheduleServices,
    busy,
    conflict,
    make_token,
    not_found,
    quota_exceeded,
    read_page,
)
from lambent_platform.store.schedules import TooManySources

_SHOWN: Final = (
    "Arn", "GroupName", "Name", "ScheduleExpression", "StartDate", "EndDate", "Description",
    "ScheduleExpressionTimezone", "State", "KmsKeyArn", "Target", "FlexibleTimeWindow", "ActionAfterCompletion",
)  # fmt: skip
_SCANNED: Final = 200
"""Schedules that are read in one go where a list picks some of them by their state."""


class ScheduleOperations:
    """Serves CreateSchedule, GetSchedule, UpdateSchedule, DeleteSchedule and ListSchedules."""

    def __init__(self, services: ScheduleServices) -> None:
        self._services = services
        self._schedules = services.schedules

    @operation("CreateSchedule")
    async def create(self, context: RequestContext, params: Params) -> Result:
        """Make a schedule; the same ClientToken with the same parameters again answers the same."""
        group, name = params.get("GroupName", DEFAULT_GROUP), params["Name"]
        now_ms = self._services.clock.now_ms()
        data = schedule_data(
            params, account=context.account, region=context.region, group=group, now_ms=now_ms, before=None
        )
        data |= {"Token": _token(params), "Incarnation": secrets.token_hex(6)}
        await self._services.active_group(context, group)
        record = SourceRecord(id=schedule_id(context.account, context.region, group, name), data=data)
        record = replace(record, next_ms=first_tick(record, now_ms=now_ms))
        try:
            written = await self._schedules.write(record)
        except TooManySources:
            raise quota_exceeded(f"There are {SCHEDULES_MAX} schedules already.") from None
        if not written:
            found = await self._schedules.load(record.id)
            if found is None or not data["Token"] or found.data.get("Token") != data["Token"]:
                raise conflict(f"Schedule {name} already exists.")
            return {"ScheduleArn": found.arn}
        await self._check_group_again(context, group, record.id)
        return {"ScheduleArn": record.arn}

    async def _check_group_again(self, context: RequestContext, group: str, source: str) -> None:
        """Undo what was made in a group that was deleted meanwhile: nobody would find it there."""
        found = await self._services.groups.load(context.account, context.region, group)
        if found is None or found["State"] == "DELETING":
            record = await self._schedules.load(source)
            if record is not None:
                await self._schedules.delete(record)
            raise not_found("Schedule group", group)

    @operation("GetSchedule")
    async def get(self, context: RequestContext, params: Params) -> Result:
        """Show a schedule."""
        data = (await self._read(context, params)).data
        return {
            **{name: data[name] for name in _SHOWN if name in data},
            "CreationDate": data["CreatedMs"] / 1000,
            "LastModificationDate": data["ModifiedMs"] / 1000,
        }

    @operation("UpdateSchedule")
    async def update(self, context: RequestContext, params: Params) -> Result:
        """Replace a schedule: what is not given becomes its default."""
        group = params.get("GroupName", DEFAULT_GROUP)
        for _ in range(WRITE_TRIES):
            before = await self._read(context, params)
            now_ms = self._services.clock.now_ms()
            data = schedule_data(
                params, account=context.account, region=context.region, group=group, now_ms=now_ms, before=before.data
            )
            data |= {name: before.data[name] for name in ("Token", "Incarnation")}
            fresh = data["AnchorMs"] == now_ms
            after = replace(before, data=data)
            after = replace(after, next_ms=first_tick(after, now_ms=now_ms, fresh=fresh))
            if await self._schedules.write(after, keep_next=ticks_on(before, after)):
                return {"ScheduleArn": after.arn}
        raise busy()

    @operation("DeleteSchedule")
    async def delete(self, context: RequestContext, params: Params) -> Result:
        """Delete a schedule; the same ClientToken again answers the same."""
        token = params.get("ClientToken", "")
        source = _source(context, params)
        for _ in range(WRITE_TRIES):
            record = await self._schedules.load(source)
            if record is None:
                if token and await self._schedules.deleted_by(source, token):
                    return {}
                raise not_found("Schedule", params["Name"])
            if await self._schedules.delete(record, token=token):
                return {}
        raise busy()

    @operation("ListSchedules")
    async def list_schedules(self, context: RequestContext, params: Params) -> Result:
        """List schedules by group and name."""
        after, most = read_page(params)
        group, state = params.get("GroupName"), params.get("State")
        if group is not None:
            await self._services.group(context, group)
        owner = f"schedule/{context.account}:{context.region}:"
        prefix = f"{owner}{group}/{params.get('NamePrefix', '')}" if group is not None else owner
        found: list[SourceRecord] = []
        at = f"{owner}{after}" if after else ""
        while len(found) <= most:
            ids = await self._schedules.page(prefix, after=at, limit=_SCANNED)
            for record in await self._schedules.load_many(ids):
                name = record.data["Name"]
                if state in (None, record.data["State"]) and name.startswith(params.get("NamePrefix", "")):
                    found.append(record)
            if len(ids) < _SCANNED:
                break
            at = ids[-1]
        return {
            "Schedules": [_summary(record.data) for record in found[:most]],
            "NextToken": make_token(found[most - 1].id.removeprefix(owner)) if len(found) > most else None,
        }

    async def _read(self, context: RequestContext, params: Params) -> SourceRecord:
        record = await self._schedules.load(_source(context, params))
        if record is None:
            raise not_found("Schedule", params["Name"])
        return record


def _source(context: RequestContext, params: Params) -> str:
    return schedule_id(context.account, context.region, params.get("GroupName", DEFAULT_GROUP), params["Name"])


def _token(params: Params) -> str:
    """What a repeated request is known by: its token and all that it says; empty without a token."""
    token = params.get("ClientToken")
    if not token:
        return ""
    said = json.dumps(params, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _summary(data: Any) -> Result:
    return {
        **{name: data[name] for name in ("Arn", "Name", "GroupName", "State")},
        "Target": {"Arn": data["Target"]["Arn"]},
        "CreationDate": data["CreatedMs"] / 1000,
        "LastModificationDate": data["ModifiedMs"] / 1000,
    }
