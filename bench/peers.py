"""What others do with the same no-op: RQ's SimpleWorker and arq, on a server whose file is synced each second.

python bench/peers.py rq|arq SOCKET EVENTS    prints one JSON object: events per second, first sent to last done

Runs in an environment of its own (peers.lock), since arq wants an older client library than Lambent. The producer
runs beside the worker, as it does for Lambent, and sends in the largest batches that the library has.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs

DEADLINE_S = 300.0
BATCH = 100
ARQ_WORKER = """
import jobs, sys
from arq import run_worker
from arq.connections import RedisSettings

class Settings:
    functions = [jobs.noop_async]
    redis_settings = RedisSettings(unix_socket_path=sys.argv[1])
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0

run_worker(Settings)
"""


@contextlib.contextmanager
def worker(*arguments: str) -> Iterator[None]:
    """Run a peer's worker from this folder, in which it finds the no-ops."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def rq_rate(socket: str, events: int) -> float:
    """Events per second through RQ's SimpleWorker, which runs jobs in its own process: RQ at its quickest."""
    import redis
    from rq import Queue
    from rq.registry import FinishedJobRegistry

    with redis.Redis(unix_socket_path=socket) as client:
        queue = Queue("bench", connection=client)
        arguments = ("-m", "rq.cli", "worker", "--url", f"unix://{socket}", "-w", "rq.SimpleWorker", "-q", "bench")
        with worker(*arguments):
            finished = FinishedJobRegistry(queue=queue)
            queue.enqueue(jobs.noop, -1)
            _until(lambda: client.zcard(finished.key) == 1)
            began = time.monotonic()
            for first in range(0, events, BATCH):
                numbers = range(first, min(events, first + BATCH))
                queue.enqueue_many([Queue.prepare_data(jobs.noop, (n,)) for n in numbers])
            _until(lambda: client.zcard(finished.key) == events + 1)
            return events / (time.monotonic() - began)


async def arq_rate(socket: str, events: int) -> float:
    """Events per second through one arq worker that runs a hundred jobs at a time."""
    from arq import create_pool
    from arq.connections import RedisSettings

    pool = await create_pool(RedisSettings(unix_socket_path=socket))
    try:
        with worker("-c", ARQ_WORKER, socket):
            await pool.enqueue_job("noop_async", -1)
            await _until_empty(pool)
            began = time.monotonic()
            for first in range(0, events, BATCH):
                numbers = range(first, min(events, first + BATCH))
                await asyncio.gather(*(pool.enqueue_job("noop_async", n) for n in numbers))
            await _until_empty(pool)
            return events / (time.monotonic() - began)
    finally:
        await pool.aclose()


async def _until_empty(pool: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while await pool.zcard("arq:queue"):
        if time.monotonic() > deadline:
            raise RuntimeError("arq did not end in time")
        await asyncio.sleep(0.01)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("RQ did not end in time")
        time.sleep(0.01)


def main() -> None:
    """Measure one peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=("rq", "arq"))
    parser.add_argument("socket")
    parser.add_argument("events", type=int)
    args = parser.parse_args()
    rate = rq_rate(args.socket, args.events) if args.peer == "rq" else asyncio.run(arq_rate(args.socket, args.events))
    print(json.dumps({"peer": args.peer, "events_per_s": round(rate, 1)}))


if __name__ == "__main__":
    main()
