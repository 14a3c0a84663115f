"""Functions of other runtimes, and what functions may ask of theirs, through a worker."""

from __future__ import annotations

import time
from typing import Any

import pytest

NODE = """
exports.handler = async (event) => {
  if (event === 'reject') { Promise.reject(new Error('boom')); await new Promise(() => {}); }
  console.log('seen', event);
  const heap = require('v8').getHeapStatistics().heap_size_limit / 1048576;
  return { pid: process.pid, heap, options: process.env.NODE_OPTIONS };
};
"""


async def node(bench: Any, **fields: Any) -> Any:
    """Deploy the function above on this machine's Node.js."""
    known = bench.runtimes
    runtime = next((name for name in known if name.startswith("nodejs") and known[name] == "ready"), None)
    if runtime is None:
        pytest.skip("no Node.js of a known version is installed here")
    return await bench.deploy(files={"app.js": NODE}, runtime=runtime, **fields)


async def test_node(bench: Any) -> None:
    """A Node.js function runs, and its heap fits its memory; its own NODE_OPTIONS are what it sees."""
    version = await node(bench, memory_mb=2048)
    seen = await bench.call(version, 1)
    assert 1700 < seen["heap"] < 2048
    assert "options" not in seen
    own = await node(bench, environment={"NODE_OPTIONS": "--max-old-space-size=77"})
    seen = await bench.call(own, 1)
    assert (seen["heap"] < 130, seen["options"]) == (True, "--max-old-space-size=77")
    await bench.lines("\tINFO\tseen 1")


async def test_a_fatal_error_is_answered_and_the_next_call_is_run_elsewhere(bench: Any) -> None:
    """After an unhandled rejection the process is gone: no call is given to it on its way out."""
    version = await node(bench, timeout_s=10)
    first = await bench.call(version, 1)
    error = await bench.fail(version, "reject")
    assert (error["errorType"], error["errorMessage"]) == ("Runtime.UnhandledPromiseRejection", "Error: boom")
    streams = [e.id for e in bench.worker.environments.values()]
    assert await bench.call(version, 1)
    assert first
    assert [e.id for e in bench.worker.environments.values()] != streams


async def test_a_wrapper_script(bench: Any) -> None:
    """`AWS_LAMBDA_EXEC_WRAPPER` names a script that starts the runtime, as on Lambda."""
    files = {
        "app.py": "import os\ndef handler(event, context): return os.environ['WRAPPED'] + event",
        "wrap": '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n',
    }
    version = await bench.deploy(files=files, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"})
    assert await bench.call(version, "!") == "yes!"


async def test_a_flood_of_output(bench: Any) -> None:
    """A handler that prints 100 MB is not held up by it for long, and its result arrives."""
    source = "def handler(e, c):\n    for _ in range(100): print('x' * 1048575)\n    return 'done'"
    version = await bench.deploy(source, timeout_s=30)
    began = time.monotonic()
    assert await bench.call(version) == "done"
    assert time.monotonic() - began < 15
    await bench.lines("dropped")


async def test_forks_that_stay_behind(bench: Any) -> None:
    """A child that outlives its call, and holds every descriptor that it could, does not hold up the next call."""
    source = """
import os, time
def handler(event, context):
    if os.fork() == 0:
        time.sleep(60)
    return os.getpid()
"""
    version = await bench.deploy(source, timeout_s=10)
    began = time.monotonic()
    first = await bench.call(version)
    assert await bench.call(version) == first
    assert time.monotonic() - began < 5
