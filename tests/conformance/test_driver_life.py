"""What every driver promises of a process's life: start, talk, end, freeze, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO_CHANNEL = """
import os, socket
channel = socket.socket(fileno=int(os.environ["LAMBENT_CHANNEL_FD"]))
while data := channel.recv(65536):
    channel.sendall(data.upper())
"""

COUNT = """
import time
while True:
    print("tick", flush=True)
    time.sleep(0.01)
"""


class Greeter(asyncio.Protocol):
    """A Runtime API that says hello and keeps what it is told."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        """Keep it, and answer at its end."""
        self._heard.append(data)
        if b"".join(self._heard).endswith(b"."):
            self._transport.write(b"bye")
            self._transport.write_eof()


async def test_output_and_environment_arrive(bench: Any) -> None:
    """What a process prints to both streams arrives, and it has the environment and folder it was given."""
    running = await bench.run(
        "import os, sys; print(os.environ['COLOUR'], os.getcwd()); print('aside', file=sys.stderr)",
        env={"COLOUR": "blue=green"},
    )
    end = await running.ended()
    assert (end.code, end.signal, end.out_of_memory) == (0, None, False)
    assert f"blue=green {running.sandbox.task_root}" in running.output.decode()
    assert b"aside" in running.output


async def test_output_larger_than_a_pipe_arrives_whole(bench: Any) -> None:
    """A megabyte of output arrives byte for byte while it is being read."""
    running = await bench.run("import sys; sys.stdout.write('x' * 1_000_000 + 'end')")
    await running.until("end")
    assert len(running.output) == 1_000_003


async def test_channel_carries_both_ways(bench: Any) -> None:
    """The process and the worker talk on the inherited descriptor."""
    running = await bench.run(ECHO_CHANNEL)
    await running.send(b"ping")
    assert await running.receive() == b"PING"


async def test_channel_ends_with_the_process(bench: Any) -> None:
    """The worker sees the end of the channel when the process is gone."""
    running = await bench.run("import os; os.write(3, b'last')")
    assert await running.receive() == b"last"
    assert await running.receive() == b""


@pytest.mark.parametrize(
    ("program", "code", "killed_by"),
    [
        ("import sys; sys.exit(7)", 7, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", None, signal.SIGKILL),
        ("import os; os.abort()", None, signal.SIGABRT),
    ],
)
async def test_the_end_is_told_at_once(bench: Any, program: str, code: int | None, killed_by: int | None) -> None:
    """An exit status or signal is reported as it was, within half a second, to everyone who waits."""
    running = await bench.run(f"import os; os.read(3, 1)\n{program}")
    waiting = [asyncio.create_task(running.ended()) for _ in range(2)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await running.send(b"!")
    ends = await asyncio.gather(*waiting)
    assert time.monotonic() - began < 0.5
    assert [(end.code, end.signal, end.out_of_memory) for end in ends] == [(code, killed_by, False)] * 2


async def test_children_end_with_the_runtime(bench: Any) -> None:
    """What a function left running in the background holds nothing open once its runtime has ended."""
    running = await bench.run(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\n"
        "print('left', flush=True)"
    )
    await running.until("left")
    await running.ended()
    async with asyncio.timeout(3):
        while True:
            with contextlib.suppress(BlockingIOError):
                if not os.read(running.sandbox.output_fd, 65536):
                    return
            await asyncio.sleep(0.01)


async def test_a_program_that_is_not_there_ends_with_127(bench: Any) -> None:
    """A command that does not exist is the process's own end, told like any other."""
    running = await bench.start()
    await running.sandbox.spawn(["/var/task/not-there"], {}, cwd=running.sandbox.task_root)
    end = await running.ended()
    assert end.code == 127
    assert "not-there" in running.output.decode()


async def test_close_ends_everything_and_leaves_nothing(bench: Any) -> None:
    """Closing ends a process that ignores signals, at once, and its folder is gone; a second close does nothing."""
    running = await bench.run(
        "import signal, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(300)"
    )
    await running.until("deaf")
    assert list(bench.folder.iterdir())
    began = time.monotonic()
    await running.sandbox.close()
    assert time.monotonic() - began < 5
    end = await running.sandbox.wait()
    assert end.code is None
    assert list(bench.folder.iterdir()) == []
    await running.sandbox.close()


async def test_close_ends_a_frozen_sandbox(bench: Any) -> None:
    """A frozen environment can be closed like any other."""
    running = await bench.run(COUNT)
    await running.until("tick")
    await running.sandbox.freeze()
    async with asyncio.timeout(10):
        await running.sandbox.close()
    assert list(bench.folder.iterdir()) == []


async def test_freeze_stops_and_thaw_resumes(bench: Any) -> None:
    """A frozen process makes no progress; a thawed one goes on where it was. Both may be asked for twice."""
    running = await bench.run(COUNT)
    await running.until("tick")
    for _ in range(2):
        await running.sandbox.freeze()
    running.pump()
    before = len(running.output)
    await asyncio.sleep(0.3)
    running.pump()
    assert len(running.output) == before
    for _ in range(2):
        await running.sandbox.thaw()
    await asyncio.sleep(0.3)
    running.pump()
    assert len(running.output) > before


async def test_the_runtime_api_reaches_its_protocol(bench: Any) -> None:
    """A TCP connection to the Runtime API's address reaches the protocol that was given, with its half-closes."""
    heard: list[bytes] = []
    running = await bench.run(
        "import os, socket\n"
        "host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')\n"
        "peer = socket.create_connection((host, int(port)))\n"
        "peer.sendall(b'x' * 3_000_000 + b'.')\n"
        "got = b''\n"
        "while data := peer.recv(100): got += data\n"
        "print('got', got.decode())",
        runtime_api=lambda: Greeter(heard),
    )
    assert running.sandbox.runtime_api_address.split(":")[0] == "127.0.0.1"
    await running.until("got hellobye")
    assert len(b"".join(heard)) == 3_000_001


async def test_many_runtime_api_connections_are_bounded_not_lost(bench: Any) -> None:
    """Hundreds of connections at once, left open by a function, stop neither it nor later ones."""
    heard: list[bytes] = []
    running = await bench.run(
        "import os, socket\n"
        "host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')\n"
        "address = (host, int(port))\n"
        "held = []\n"
        "for _ in range(160):\n"
        "    peer = socket.socket(); peer.setblocking(False)\n"
        "    peer.connect_ex(address); held.append(peer)\n"
        "for peer in held: peer.close()\n"
        "peer = socket.create_connection(address)\n"
        "print('got', peer.recv(5).decode())",
        runtime_api=lambda: Greeter(heard),
    )
    await running.until("got hello")


async def test_code_may_be_put_in_after_the_start(bench: Any) -> None:
    """What the worker puts into the task folder of a running sandbox is seen inside, also by its sub-folders."""
    running = await bench.run(
        "import os\nos.read(3, 1)\nprint(open('late/file.txt').read(), flush=True)",
    )
    host_dir = next(iter(bench.folder.iterdir()))
    (host_dir / "task" / "late").mkdir(mode=0o755)
    (host_dir / "task" / "late" / "file.txt").write_text("came late")
    await running.send(b"!")
    await running.until("came late")


async def test_sandboxes_start_side_by_side(bench: Any) -> None:
    """Several sandboxes started at once are each their own."""
    many = await asyncio.gather(*(bench.run(f"print('number {i}')") for i in range(3)))
    for i, running in enumerate(many):
        await running.until(f"number {i}")
    assert len({running.sandbox.label for running in many}) == 3
