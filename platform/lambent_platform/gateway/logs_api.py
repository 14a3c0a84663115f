"""CloudWatch Logs, as far as people and their tools read what functions print, and functions write lines of their own.

Source: CloudWatch Logs API reference. Times are ms since the epoch; `endTime` is the last one of FilterLogEvents and
the first one left out of GetLogEvents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from lambent_platform.contracts.clock import EventClock, SystemClock
from lambent_platform.contracts.errors import ApiError
from lambent_platform.core.log_filter import FilterPatternError, LogFilter
from lambent_platform.gateway import logs_reading as reading
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.store.logs import LogEvent, LogGroup, LogStore, LogStream

LIST_MAX: Final = 50
BATCH_BYTES_MAX: Final = 1_048_576
EVENT_OVERHEAD_BYTES: Final = 26
"""What each line of PutLogEvents counts besides its text."""
TOO_NEW_MS: Final = 2 * 3_600_000
TOO_OLD_MS: Final = 14 * 86_400_000
_GROUP_ARN: Final = re.compile(r"arn:[^:]+:logs:[^:]*:[^:]*:log-group:([^:]+)")


class LogOperations:
    """Serves the log operations from the store."""

    def __init__(self, store: LogStore, clock: EventClock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()

    @operation("DescribeLogGroups")
    async def describe_log_groups(self, context: RequestContext, params: Params) -> Result:
        """List groups by name."""
        prefix, pattern = params.get("logGroupNamePrefix", ""), params.get("logGroupNamePattern", "").lower()
        if prefix and pattern:
            raise _invalid("Cannot use both logGroupNamePrefix and logGroupNamePattern.")
        limit, after = params.get("limit", LIST_MAX), params.get("nextToken", "")
        found: list[LogGroup] = []
        while len(found) <= limit:
            groups = await self._at(context).groups(prefix, LIST_MAX + 1, after)
            found += [group for group in groups if pattern in group.name.lower()]
            if len(groups) <= LIST_MAX:
                break
            after = groups[-1].name
        return {
            "logGroups": [_group(context, group) for group in found[:limit]],
            "nextToken": found[limit - 1].name if len(found) > limit else None,
        }

    @operation("DescribeLogStreams")
    async def describe_log_streams(self, context: RequestContext, params: Params) -> Result:
        """List a group's streams by name, or by the time of their last line."""
        group = await self._group(context, params)
        prefix, by_time = params.get("logStreamNamePrefix", ""), params.get("orderBy") == "LastEventTime"
        if prefix and by_time:
            raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        descending, limit = params.get("descending", False), params.get("limit", LIST_MAX)

        def order(stream: LogStream) -> tuple[int, str]:
            return (stream.last_ms if by_time else 0, stream.name)

        streams = [s for s in await self._at(context).streams(group) if s.name.startswith(prefix)]
        streams.sort(key=order, reverse=descending)
        if "nextToken" in params:
            at = _position(params["nextToken"])
            streams = [s for s in streams if (order(s) < at if descending else order(s) > at)]
        more = reading.write_position(order(streams[limit - 1])) if len(streams) > limit else None
        return {"logStreams": [_stream(context, group, stream) for stream in streams[:limit]], "nextToken": more}

    @operation("FilterLogEvents")
    async def filter_log_events(self, context: RequestContext, params: Params) -> Result:
        """Return lines of any of a group's streams that match a pattern."""
        group = await self._group(context, params)
        try:
            wanted = LogFilter.parse(params.get("filterPattern", ""))
        except FilterPatternError as error:
            raise _invalid(f"Invalid filter pattern: {error}") from None
        span = reading.LogRange(
            group, await self._streams(context, group, params), params.get("startTime", 0), params.get("endTime")
        )
        limit = params.get("limit", reading.PAGE_EVENTS_MAX)
        try:
            page = await reading.search(self._at(context), span, wanted.matches, limit, params.get("nextToken"))
        except ValueError:
            raise _invalid("The specified nextToken is invalid.") from None
        events = [{**_event(event), "logStreamName": event.stream, "eventId": event.id} for event in page.events]
        return {"events": events, "searchedLogStreams": [], "nextToken": page.token}

    @operation("GetLogEvents")
    async def get_log_events(self, context: RequestContext, params: Params) -> Result:
        """Return lines of one stream: the newest, or on from a token in its direction."""
        group = await self._group(context, params)
        store, name = self._at(context), params["logStreamName"]
        stream = next((s for s in await store.streams(group) if s.name == name), None)
        if stream is None:
            raise _not_found("The specified log stream does not exist.")
        limit = params.get("limit", reading.PAGE_EVENTS_MAX)
        start_ms, end_ms = params.get("startTime", 0), params.get("endTime")
        span = reading.LogRange(group, [name], start_ms, None if end_ms is None else end_ms - 1)
        direction, _, rest = params.get("nextToken", "").partition("/")
        if direction not in {"", "f", "b"}:
            raise _invalid("The specified nextToken is invalid.")
        end = (stream.last_ms + 1 if end_ms is None else end_ms, "")
        events: Sequence[LogEvent]
        if direction == "f" or (not direction and params.get("startFromHead")):
            at = _position(rest) if direction else (start_ms, "")
            events = await reading.forwards(store, span, at, limit)
        else:
            at = min(_position(rest), end) if direction else end
            events = await reading.backwards(store, span, at, stream.first_ms, limit)
        first, last = (reading.position(events[0]), reading.position(events[-1])) if events else (at, at)
        return {
            "events": [_event(event) for event in events],
            "nextForwardToken": f"f/{reading.write_position(last)}",
            "nextBackwardToken": f"b/{reading.write_position(first)}",
        }

    @operation("CreateLogGroup")
    async def create_log_group(self, context: RequestContext, params: Params) -> Result:
        """Make an empty group."""
        if not await self._at(context).create_group(params["logGroupName"]):
            raise _exists("The specified log group already exists")
        return {}

    @operation("CreateLogStream")
    async def create_log_stream(self, context: RequestContext, params: Params) -> Result:
        """Make an empty stream."""
        group = await self._group(context, params)
        if not await self._at(context).create_stream(group, params["logStreamName"]):
            raise _exists("The specified log stream already exists")
        return {}

    @operation("PutLogEvents")
    async def put_log_events(self, context: RequestContext, params: Params) -> Result:
        """Write lines to a stream; those too old or too new are left out and said to be."""
        group, name = await self._group(context, params), params["logStreamName"]
        store, events = self._at(context), params["logEvents"]
        times = [event["timestamp"] for event in events]
        if times != sorted(times):
            raise _invalid("Log events in a single PutLogEvents request must be in chronological order.")
        if sum(len(event["message"].encode()) + EVENT_OVERHEAD_BYTES for event in events) > BATCH_BYTES_MAX:
            raise _invalid(f"Upload too large: more than {BATCH_BYTES_MAX} bytes")
        if all(stream.name != name for stream in await store.streams(group)):
            raise _not_found("The specified log stream does not exist.")
        now_ms = self._clock.now_ms()
        old = sum(time < now_ms - TOO_OLD_MS for time in times)
        new = sum(time <= now_ms + TOO_NEW_MS for time in times)
        await store.append(group, [LogEvent(e["timestamp"], name, e["message"]) for e in events[old:new]])
        rejected = {
            "tooOldLogEventEndIndex": old or None,
            "tooNewLogEventStartIndex": new if new < len(events) else None,
        }
        return {"rejectedLogEventsInfo": rejected if old or new < len(events) else None}

    @operation("DeleteLogGroup")
    async def delete_log_group(self, context: RequestContext, params: Params) -> Result:
        """Delete a group with all its lines."""
        if not await self._at(context).delete_group(params["logGroupName"]):
            raise _not_found("The specified log group does not exist.")
        return {}

    def _at(self, context: RequestContext) -> LogStore:
        return self._store.at(context.account, context.region)

    async def _group(self, context: RequestContext, params: Params) -> str:
        """Return the name of the group that a request means, by name or by ARN.

        Raises:
            ApiError: InvalidParameterException, ResourceNotFoundException.
        """
        name, ident = params.get("logGroupName"), params.get("logGroupIdentifier")
        if (name is None) == (ident is None):
            raise _invalid("Exactly one of logGroupName and logGroupIdentifier must be given.")
        if ident is not None:
            match = _GROUP_ARN.fullmatch(ident)
            name = match[1] if match else ident
        found = await self._at(context).groups(str(name), limit=1)
        if not found or found[0].name != name:
            raise _not_found("The specified log group does not exist.")
        return found[0].name

    async def _streams(self, context: RequestContext, group: str, params: Params) -> Sequence[str] | None:
        names, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix")
        if names is not None and prefix is not None:
            raise _invalid("Cannot use both logStreamNames and logStreamNamePrefix.")
        if prefix is None:
            return list(names) if names is not None else None
        return [stream.name for stream in await self._at(context).streams(group) if stream.name.startswith(prefix)]


def _group_arn(context: RequestContext, name: str) -> str:
    return f"arn:aws:logs:{context.region}:{context.account}:log-group:{name}"


def _group(context: RequestContext, group: LogGroup) -> dict[str, Any]:
    arn = _group_arn(context, group.name)
    return {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": group.stored_bytes,
        "logGroupClass": "STANDARD",
    }


def _stream(context: RequestContext, group: str, stream: LogStream) -> dict[str, Any]:
    return {
        "logStreamName": stream.name,
        "creationTime": stream.first_ms,
        "firstEventTimestamp": stream.first_ms,
        "lastEventTimestamp": stream.last_ms,
        "lastIngestionTime": stream.last_ms,
        "arn": f"{_group_arn(context, group)}:log-stream:{stream.name}",
        "storedBytes": 0,
    }


def _event(event: LogEvent) -> dict[str, Any]:
    return {"timestamp": event.timestamp_ms, "message": event.message, "ingestionTime": event.ingestion_ms}


def _position(text: str) -> reading.Position:
    try:
        return reading.read_position(text)
    except ValueError:
        raise _invalid("The specified nextToken is invalid.") from None


def _invalid(message: str) -> ApiError:
    return ApiError(message, code="InvalidParameterException", status=400)


def _not_found(message: str) -> ApiError:
    return ApiError(message, code="ResourceNotFoundException", status=400)


def _exists(message: str) -> ApiError:
    return ApiError(message, code="ResourceAlreadyExistsException", status=400)
