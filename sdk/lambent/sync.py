"""The same client for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from lambent.aio import AsyncClient
from lambent.clock import Clock
from lambent.connection import Connection
from lambent.dead import Dead
from lambent.deployment import DEPLOY_TIMEOUT_S, OnProgress
from lambent.records import Environment, Function, InvocationResult, KeepAlive, LogEvent
from lambent.spec import FunctionSpec
from lambent.streaming import AsyncInvocationStream

if TYPE_CHECKING:
    from lambent.stacks import Stacks

CANCEL_S: Final = 5.0
"""How long what was interrupted may take to end."""

T = TypeVar("T")


class Client:
    """Deploys, calls and watches functions; blocks until each is done.

        with Client() as client:
            client.deploy("hello")
            print(client.invoke("hello", {"name": "Ada"}))

    It runs an `AsyncClient` on an event loop in a thread of its own, so it works beside a running loop (in a notebook,
    say) and from several threads at once. Methods and errors are those of `AsyncClient`.
    """

    def __init__(self, endpoint: str | None = None, *, region: str | None = None) -> None:
        self._client = AsyncClient(endpoint, region=region)
        self._loop = asyncio.new_event_loop()
        self.dead = Dead(self._client.dead, self._run)
        """See `AsyncClient.dead`."""
        self.clock = Clock(self._client.clock, self._run)
        """See `AsyncClient.clock`."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="lambent-client", daemon=True)
        self._thread.start()
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self._stop()
            raise

    @functools.cached_property
    def stacks(self) -> Stacks:
        """See `AsyncClient.stacks`."""
        from lambent.stacks import Stacks

        return Stacks(self._client.stacks, self._run)

    @property
    def connection(self) -> Connection:
        """Where it speaks to, and as whom."""
        return self._client.connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. May be called more than once."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.__aexit__(None, None, None))
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        ended = threading.Event()

        async def watched() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(watched(), self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C comes to this thread: the request on the other one must not outlive it, nor still run beside
            # what closes its generator.
            future.cancel()
            ended.wait(CANCEL_S)
            raise

    def deploy(
        self,
        folder: str | Path | FunctionSpec,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        **overrides: Any,
    ) -> Function:
        """See `AsyncClient.deploy`; `on_progress` is called in the client's own thread."""
        return self._run(self._client.deploy(folder, on_progress=on_progress, timeout_s=timeout_s, **overrides))

    def invoke(self, name: str, payload: object = None, *, qualifier: str | None = None) -> Any:
        """See `AsyncClient.invoke`."""
        return self._run(self._client.invoke(name, payload, qualifier=qualifier))

    def call(
        self, name: str, payload: bytes = b"", *, qualifier: str | None = None, log_tail: bool = False
    ) -> InvocationResult:
        """See `AsyncClient.call`."""
        return self._run(self._client.call(name, payload, qualifier=qualifier, log_tail=log_tail))

    def invoke_stream(
        self,
        name: str,
        payload: object = None,
        *,
        qualifier: str | None = None,
        raw: bytes | None = None,
        log_tail: bool = False,
    ) -> InvocationStream:
        """See `AsyncClient.invoke_stream`: `for part in client.invoke_stream(name)`."""
        stream = self._client.invoke_stream(name, payload, qualifier=qualifier, raw=raw, log_tail=log_tail)
        return InvocationStream(self, stream)

    def invoke_async(
        self, name: str, payload: object = None, *, qualifier: str | None = None, raw: bytes | None = None
    ) -> str:
        """See `AsyncClient.invoke_async`."""
        return self._run(self._client.invoke_async(name, payload, qualifier=qualifier, raw=raw))

    def logs(
        self, name: str, *, since_s: float = 600.0, start_ms: int | None = None, follow: bool = False
    ) -> Iterator[LogEvent]:
        """See `AsyncClient.logs`."""
        events = self._client.logs(name, since_s=since_s, start_ms=start_ms, follow=follow)
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            if not self._loop.is_closed():
                self._run(_close(events))

    def build_log(self, name: str) -> str:
        """See `AsyncClient.build_log`."""
        return self._run(self._client.build_log(name))

    def functions(self) -> list[Function]:
        """See `AsyncClient.functions`."""
        return self._run(self._client.functions())

    def function(self, name: str, *, qualifier: str | None = None) -> Function:
        """See `AsyncClient.function`."""
        return self._run(self._client.function(name, qualifier=qualifier))

    def delete(self, name: str) -> None:
        """See `AsyncClient.delete`."""
        self._run(self._client.delete(name))

    def url(self, name: str, *, create: bool = False, stream: bool | None = None) -> str:
        """See `AsyncClient.url`."""
        return self._run(self._client.url(name, create=create, stream=stream))

    def path_url(self, name: str) -> str:
        """See `AsyncClient.path_url`."""
        return self._client.path_url(name)

    def delete_url(self, name: str) -> None:
        """See `AsyncClient.delete_url`."""
        self._run(self._client.delete_url(name))

    def environments(self) -> list[Environment]:
        """See `AsyncClient.environments`."""
        return self._run(self._client.environments())

    def keep_alive(self, name: str) -> KeepAlive:
        """See `AsyncClient.keep_alive`."""
        return self._run(self._client.keep_alive(name))

    def runtimes(self) -> dict[str, str]:
        """See `AsyncClient.runtimes`."""
        return self._run(self._client.runtimes())


class InvocationStream:
    """What a function answers, part by part; see `AsyncInvocationStream`. Hangs up where it is left early."""

    def __init__(self, client: Client, stream: AsyncInvocationStream) -> None:
        self._client = client
        self._stream = stream

    @property
    def request_id(self) -> str:
        """The request id, known with the first part."""
        return self._stream.request_id

    @property
    def executed_version(self) -> str:
        """The version that ran, known with the first part."""
        return self._stream.executed_version

    @property
    def log(self) -> str:
        """The last 4 KB of its log, once it has ended, where that was asked for."""
        return self._stream.log

    def __iter__(self) -> Iterator[bytes]:
        parts = aiter(self._stream)
        try:
            while (part := self._client._run(_next(parts))) is not None:
                yield part
        finally:
            if not self._client._loop.is_closed():
                self._client._run(self._stream.aclose())


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _close(events: AsyncIterator[LogEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
