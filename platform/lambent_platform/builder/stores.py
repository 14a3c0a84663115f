"""The stores, for code that blocks: they live on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.jobs import JobStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import open_redis

CALL_TIMEOUT_S: Final = 120.0
OPEN_TIMEOUT_S: Final = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlockingStores:
    """Stores whose coroutines are run by `call`."""

    jobs: JobStore
    objects: ObjectStore
    loop: asyncio.AbstractEventLoop

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float = CALL_TIMEOUT_S) -> T:
        """Run a coroutine on the stores' loop and wait for it.

        Raises:
            StoreUnavailable: it took longer than `timeout_s`; and whatever it raises.
        """
        future = self.start(work)
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            raise StoreUnavailable(f"a store did not answer within {timeout_s:.0f} s") from error
        finally:
            future.cancel()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine beside the caller."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)


@contextmanager
def open_stores(
    redis_url: str, open_objects: Callable[[], ObjectStore], *, partitions: int
) -> Iterator[BlockingStores]:
    """Open the stores for the length of the block.

    To be called in the process that uses them: neither an event loop nor the object store survives a fork.

    Raises:
        StoreUnavailable: one of them cannot be opened.
    """
    opened: concurrent.futures.Future[BlockingStores] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def live() -> None:
        async with open_redis(redis_url, partitions=partitions) as redis:
            await redis.ping()
            opened.set_result(BlockingStores(JobStore(redis), open_objects(), asyncio.get_running_loop()))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # handed to whoever opens
            if not opened.done():
                opened.set_exception(error)

    thread = threading.Thread(target=run, name="stores", daemon=True)
    thread.start()
    try:
        stores = opened.result(OPEN_TIMEOUT_S)
    except TimeoutError as error:
        raise StoreUnavailable(f"the stores did not open within {OPEN_TIMEOUT_S:.0f} s") from error
    try:
        yield stores
    finally:
        stores.loop.call_soon_threadsafe(stop.set)
        thread.join(OPEN_TIMEOUT_S)
