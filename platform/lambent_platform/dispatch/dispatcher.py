"""A caller's side of an invocation: placed on Redis, answered through this caller's reply box.

Calls that arrive in one turn of the event loop are placed by one script, and replies are taken in batches: the
number of round trips, not the number of calls, is what this path costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.errors import (
    ApiError,
    RecursiveInvocation,
    ServiceException,
    StoreUnavailable,
    TooManyRequests,
)
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Invocation, Reply
from lambent_platform.contracts.limits import INIT_TIMEOUT_S
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core import lineage, retries
from lambent_platform.core.resolution import event_invocation, event_meta, not_found, resolve
from lambent_platform.dispatch.failures import failure_of
from lambent_platform.dispatch.metrics import CallMetrics
from lambent_platform.dispatch.streams import ReplyStream, StreamBox, StreamBoxes
from lambent_platform.store.batches import Batcher
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.invocations import InvocationStore, Placement
from lambent_platform.store.redis import RedisStore
from lambent_platform.store.response_streams import ResponseStreamStore

CACHED_FUNCTIONS_MAX: Final = 10_000
STALE_TRIES: Final = 5
REPLY_WAIT_S: Final = 1.0
REPLY_GRACE_S: Final = 10.0
"""What a placed call may take beyond its own timeout: init again, the kill, a worker's lease."""
BEAT_S: Final = 2.0

log = structlog.get_logger("gateway")


class Functions(Protocol):
    """Where functions are read."""

    async def load(self, ident: str) -> FunctionRecord | None:
        """One function with its versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What a call carries besides its payload."""

    request_id: str = ""
    log_tail: bool = False
    client_context: str = ""
    trace_id: str = ""


class Dispatcher:
    """Places calls and events, and hands replies to those who wait for them."""

    def __init__(
        self,
        redis: RedisStore,
        invocations: InvocationStore,
        fleet: FleetStore,
        functions: Functions,
        clock: EventClock,
        *,
        gateway_id: str,
        capacity_wait_s: float,
        metrics: CallMetrics,
    ) -> None:
        self._metrics = metrics
        metrics.watch_in_flight(lambda: len(self._waiting))
        self.gateway_id = gateway_id
        self._redis = redis
        self._invocations = invocations
        self._fleet = fleet
        self._functions = functions
        self._clock = clock
        self._capacity_wait_s = capacity_wait_s
        self._cache: dict[str, FunctionRecord] = {}
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._boxes = StreamBoxes(ResponseStreamStore(redis), gateway_id)
        self._places = Batcher(invocations.place)
        self._accepts = Batcher(invocations.accept)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be known as a gateway and take replies, for the length of the block."""
        await self._beat_once()
        tasks = [asyncio.create_task(self._beat())]
        tasks += [asyncio.create_task(self._take_replies(prefix)) for prefix in self._invocations.partitions]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._boxes.close()
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(2):
                    await self._fleet.forget_gateway(self.gateway_id)

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run a function and return what it, its init or its process ended with.

        Raises:
            ResourceNotFound, ResourceConflict: it cannot be called.
            RecursiveInvocation: the chain that `trace_id` tells of has called it too often.
            TooManyRequests: no concurrency, or no room on any worker within the capacity wait.
            ServiceException: the platform lost the call.
            StoreUnavailable: Redis is away.
        """
        options = options or CallOptions()
        call_id = options.request_id or str(uuid.uuid4())
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        try:
            with self._metrics.measured("sync") as call:
                version, placement = await self._place(ref, call_id, payload, options)
                reply = await self._reply(future, call_id, version, placement)
                call.outcome = "function_error" if reply.function_error else "ok"
                return reply
        finally:
            del self._waiting[call_id]

    @asynccontextmanager
    async def stream(
        self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None
    ) -> AsyncIterator[ReplyStream]:
        """Run a function and read its reply while it comes; the block begins when there is something of it.

            async with dispatcher.stream(ref, payload) as stream:
                async for part in stream: …
                stream.end.function_error …

        Leaving the block early abandons the reply: the function runs to its end, and nothing more of it is sent.
        Raises as `invoke` does, before the block; within it, iterating raises what the platform fails with then.
        """
        options = options or CallOptions()
        call_id = options.request_id or str(uuid.uuid4())
        ending: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = ending
        try:
            with self._metrics.measured("sync") as call, self._box(ref).reading(call_id, ending) as stream:
                version, placement = await self._place(ref, call_id, payload, options, streamed=True)
                stream.executed_version = version.version
                stream.deadline_s = time.monotonic() + _patience_s(version)
                await self._begin(stream, version, placement)
                try:
                    yield stream
                finally:
                    call.outcome = stream.outcome
        finally:
            del self._waiting[call_id]

    def _box(self, ref: FunctionRef) -> StreamBox:
        return self._boxes.of(self._redis.keys.prefix(ref.ident))

    async def _begin(self, stream: ReplyStream, version: FunctionVersion, placement: Placement) -> None:
        """Wait for the first part of a stream, or for its end."""
        if placement is Placement.QUEUED:
            await self._capacity(stream.begun, stream.call_id, version)
        try:
            async with asyncio.timeout(stream.deadline_s - time.monotonic()):
                await stream.begun
        except TimeoutError:
            await self._give_up(stream.call_id, version)
        reply = self._waiting[stream.call_id]
        if reply.done() and reply.result().failure:
            raise failure_of(reply.result())

    async def _give_up(self, call_id: str, version: FunctionVersion) -> NoReturn:
        log.error("no reply", request_id=call_id, target=version.target)
        await self._invocations.cancel(call_id, version.target)
        raise ServiceException("The invocation was not answered in time.", Type="Service") from None

    async def _place(
        self, ref: FunctionRef, call_id: str, payload: bytes, options: CallOptions, *, streamed: bool = False
    ) -> tuple[FunctionVersion, Placement]:
        for attempt in range(STALE_TRIES):
            record, version = await self._resolve(ref, fresh=attempt > 0)
            turn = lineage.next_turn(options.trace_id, ref.ident, call_id)
            if turn.stopped(record.recursive_loop):
                if attempt == 0:
                    continue  # it may be allowed since the function was read
                log.warning("recursive loop stopped", function=ref.arn, request_id=call_id, turn=turn.number)
                await self._invocations.count_stopped(version.target)
                raise RecursiveInvocation(lineage.STOPPED_MESSAGE, Type="User")
            invocation = Invocation(
                id=call_id,
                target=version.target,
                gateway=self.gateway_id,
                qualified_arn=ref.named_arn,
                payload=payload,
                log_tail=options.log_tail,
                client_context=options.client_context,
                trace_id=turn.trace_id,
                placed_at_ms=time.time_ns() // 1_000_000,
                streamed=streamed,
            )
            placement = await self._places.submit((invocation, record.generation))
            if placement is not Placement.STALE:
                _refuse(placement)
                return version, placement
        raise ServiceException("The function changes faster than it can be read.", Type="Service")

    async def _reply(
        self, future: asyncio.Future[Reply], call_id: str, version: FunctionVersion, placement: Placement
    ) -> Reply:
        try:
            if placement is Placement.QUEUED:
                await self._capacity(future, call_id, version)
            async with asyncio.timeout(_patience_s(version)):
                reply = await future
        except TimeoutError:
            await self._give_up(call_id, version)
        if reply.failure:
            raise failure_of(reply)
        return reply

    async def _capacity(self, future: asyncio.Future[Any], call_id: str, version: FunctionVersion) -> None:
        """Wait until a queued call has been placed, or must be refused for want of room."""
        await asyncio.wait({future}, timeout=self._capacity_wait_s)
        if future.done() or await self._starts(version.target):
            return
        if await self._invocations.cancel(call_id, version.target):
            raise TooManyRequests("Rate Exceeded.", Reason="ConcurrentInvocationLimitExceeded", Type="User")

    async def _starts(self, target: str) -> bool:
        """Whether an environment of this target is on its way: a slow init is not a want of room."""
        workers = [worker.id for worker in await self._fleet.workers()]
        states = (EnvironmentState.STARTING, EnvironmentState.INIT)
        return any(e.target == target and e.state in states for e in await self._fleet.environments(workers))

    async def accept(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> str:
        """Accept an asynchronous event; returns its request id once it is as durable as the store was told to be.

        One that would be one turn too many of a loop is accepted too, and ends as dead without being run.

        Raises:
            ResourceNotFound, ResourceConflict: the function cannot be called.
            TooManyRequests: its queue is full.
            StoreUnavailable: Redis is away, or its disk did not confirm.
        """
        options = options or CallOptions()
        event_id = options.request_id or str(uuid.uuid4())
        with self._metrics.measured("event") as call:
            await self._accept(ref, event_id, payload, options)
            call.outcome = "accepted"
        return event_id

    async def _accept(self, ref: FunctionRef, event_id: str, payload: bytes, options: CallOptions) -> None:
        for attempt in range(STALE_TRIES):
            record, version = await self._resolve(ref, fresh=attempt > 0)
            turn = lineage.next_turn(options.trace_id, ref.ident, event_id)
            stopped = turn.stopped(record.recursive_loop)
            if stopped and attempt == 0:
                continue  # it may be allowed since the function was read
            invocation = event_invocation(
                version,
                ref,
                payload,
                event_id=event_id,
                trace_id=turn.trace_id,
                client_context=options.client_context,
                placed_at_ms=time.time_ns() // 1_000_000,
            )
            now_ms = self._clock.now_ms()
            meta = event_meta(record, version, ref, now_ms=now_ms)
            if stopped:
                log.warning("recursive loop stopped", function=ref.arn, request_id=event_id, turn=turn.number)
                await self._invocations.accept_ended(invocation, meta, retries.stop(meta, now_ms=now_ms))
                return
            placement = await self._accepts.submit((invocation, record.generation, meta))
            if placement is not Placement.STALE:
                _refuse(placement)
                return
        raise ServiceException("The function changes faster than it can be read.", Type="Service")

    async def check(self, ref: FunctionRef) -> None:
        """Raise what a call of this function would be refused with (`DryRun`)."""
        await self._resolve(ref, fresh=True)

    async def _resolve(self, ref: FunctionRef, *, fresh: bool) -> tuple[FunctionRecord, FunctionVersion]:
        """A function as last read, and the version that this call runs.

        A stale record does no harm: placing checks its generation. One that refuses the call is read again first,
        since nothing is placed that would check it.
        """
        ident = ref.ident
        roll = random.random()  # noqa: S311 - a weighted choice, not a secret
        cached = None if fresh else self._cache.get(ident)
        if cached is not None:
            with contextlib.suppress(ApiError):
                return cached, resolve(cached, ref, roll=roll)
        record = await self._functions.load(ident)
        if record is None:
            self._cache.pop(ident, None)
            raise not_found(ref)
        self._cache[ident] = record
        if len(self._cache) > CACHED_FUNCTIONS_MAX:
            self._cache.pop(next(iter(self._cache)))
        return record, resolve(record, ref, roll=roll)

    async def _take_replies(self, prefix: str) -> None:
        failures = 0
        while True:
            try:
                replies = await self._invocations.replies(self.gateway_id, wait_s=REPLY_WAIT_S, prefix=prefix)
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                log.warning("redis is away", error=str(error))
                self._fail_all(error)
                await asyncio.sleep(min(0.1 * 2**failures, 2.0))
                continue
            for reply in replies:
                future = self._waiting.get(reply.id)
                if future is None:
                    self._boxes.over(reply.id)
                elif not future.done():
                    future.set_result(reply)

    def _fail_all(self, error: StoreUnavailable) -> None:
        """Fail what waits at once: with Redis away nothing says when an answer could come."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(StoreUnavailable(str(error)))
                future.exception()  # whoever waits raises it; without one it is not "never retrieved"

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(StoreUnavailable):
                await self._beat_once()

    async def _beat_once(self) -> None:
        await self._fleet.beat_gateway(self.gateway_id, now_ms=await self._redis.now_ms())


def _patience_s(version: FunctionVersion) -> float:
    return version.timeout_s + INIT_TIMEOUT_S + REPLY_GRACE_S


def _refuse(placement: Placement) -> None:
    if placement is Placement.RESERVED:
        raise TooManyRequests("Rate Exceeded.", Reason="ReservedFunctionConcurrentInvocationLimitExceeded", Type="User")
    if placement in (Placement.ACCOUNT, Placement.FULL):
        raise TooManyRequests("Rate Exceeded.", Reason="ConcurrentInvocationLimitExceeded", Type="User")
