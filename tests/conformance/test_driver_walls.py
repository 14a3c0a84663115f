"""What every driver keeps from a function, and the limits that it sets it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = """
import json, os, sys
found = {}
for path in json.loads(os.environ["PATHS"]):
    try:
        found[path] = sorted(os.listdir(path)) if os.path.isdir(path) else open(path, "rb").read(40).decode("latin-1")
    except OSError as error:
        found[path] = None
print(json.dumps(found))
"""

HOG = """
import time
held = []
for _ in range(400):
    held.append(bytearray(b"x" * 1_000_000))
    time.sleep(0.002)
print("survived", flush=True)
"""


async def read_inside(bench: Any, *paths: Path | str) -> dict[str, Any]:
    """What a function gets when it reads these paths; None for each that it cannot."""
    running = await bench.run(READ, env={"PATHS": json.dumps([str(path) for path in paths])})
    await running.ended()
    found: dict[str, Any] = running.json()
    return found


async def test_a_function_is_no_root_inside_or_outside(bench: Any) -> None:
    """Neither inside nor on the host does the process run as uid 0, nor has it any capability."""
    running = await bench.run(
        "import os\n"
        "print(open('/proc/self/status').read())\n"
        "print('ids', os.getuid(), os.geteuid(), os.getgid(), os.getgroups())\n"
        "print('map', open('/proc/self/uid_map').read())\n"
        "print('cookie-' + 'lambent' * 3, flush=True)\n"
        "import time; time.sleep(60)",
        env={"MARK": f"lambent-mark-{id(bench)}"},
    )
    text = await running.until("cookie-")
    ids = re.search(r"ids (\d+) (\d+) (\d+)", text)
    assert ids is not None
    assert "0" not in ids.groups()
    assert re.search(r"CapEff:\s+0000000000000000", text)
    assert re.search(r"NoNewPrivs:\s+1", text)
    if os.getuid() == 0:
        uids = host_uids(f"MARK=lambent-mark-{id(bench)}")
        assert uids
        assert 0 not in uids


def host_uids(mark: str) -> set[int]:
    """All user ids, as the host sees them, of the processes whose environment has this entry."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            status = (folder / "status").read_text()
        except OSError:
            continue
        line = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
        assert line is not None
        found |= {int(uid) for uid in line[1].split()}
    return found


async def test_other_environments_and_the_platforms_data_cannot_be_read(bench: Any) -> None:
    """Another environment's code, the data folder, a socket in it and the host's passwords stay closed."""
    secret = bench.folder / "data.secret"
    secret.write_text("hidden")
    secret.chmod(0o644)
    other = await bench.run("import time; time.sleep(60)")
    other_folder = next(path for path in bench.folder.iterdir() if path.is_dir())
    found = await read_inside(
        bench,
        bench.folder,
        secret,
        other_folder,
        other_folder / "task",
        other_folder / "task" / "program.py",
        "/etc/shadow",
        "/root",
    )
    assert set(found.values()) <= {None}
    secret.unlink()
    await other.sandbox.close()


async def test_no_socket_of_the_platform_can_be_reached(bench: Any) -> None:
    """A Unix socket beside the environments, as Redis's is, cannot be connected to."""
    server = await asyncio.start_unix_server(lambda r, w: w.close(), path=bench.folder / "redis.sock")
    (bench.folder / "redis.sock").chmod(0o777)
    running = await bench.run(
        "import os, socket\n"
        "for path in (os.environ['SOCKET'], '/var/run/docker.sock', '/run/docker.sock'):\n"
        "    try: socket.socket(socket.AF_UNIX).connect(path); print('reached', path)\n"
        "    except OSError: print('refused', path)",
        env={"SOCKET": str(bench.folder / "redis.sock")},
    )
    await running.ended()
    server.close()
    (bench.folder / "redis.sock").unlink()
    assert b"reached" not in running.output
    assert running.output.count(b"refused") == 3


async def test_nobody_takes_the_channel_or_control_a_second_time(bench: Any) -> None:
    """Once the process runs, no socket answers that speaks to the worker but the Runtime API and the public API."""
    running = await bench.run(
        "import os, socket\n"
        "folder = '/run/lambent'\n"
        "for name in ('init.sock', 'channel.sock', 'output.sock'):\n"
        "    try: socket.socket(socket.AF_UNIX).connect(folder + '/' + name); print('reached', name)\n"
        "    except OSError: print('refused', name)",
    )
    await running.ended()
    assert running.output.count(b"refused") == 3


async def test_the_parent_cannot_be_killed_or_traced(bench: Any) -> None:
    """Signals to process 1, and looking into it, leave the sandbox as it was."""
    running = await bench.run(
        "import os, signal, time\n"
        "for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT):\n"
        "    try: os.kill(1, number)\n"
        "    except OSError: pass\n"
        "try: print('seen', os.listdir('/proc/1/fd'))\n"
        "except OSError: print('closed')\n"
        "time.sleep(0.2)\n"
        "print('alive', flush=True)"
    )
    text = await running.until("alive")
    assert "closed" in text
    assert (await running.ended()).code == 0


async def test_code_is_read_only_and_tmp_is_bounded(bench: Any) -> None:
    """A function cannot change its code or the system; it can write and execute in /tmp, up to its size."""
    running = await bench.run(
        "import os, subprocess\n"
        "for path in ('program.py', 'new.txt', '/etc/x', '/usr/x', '/x', '/opt/x', '/run/lambent/x'):\n"
        "    try: open(path, 'a').close(); print('wrote', path)\n"
        "    except OSError: print('refused', path)\n"
        "open('/tmp/tool', 'w').write('#!/bin/sh\\necho executed'); os.chmod('/tmp/tool', 0o700)\n"
        "print(subprocess.run(['/tmp/tool'], capture_output=True, text=True).stdout)\n"
        "written = 0\n"
        "try:\n"
        "    with open('/tmp/big', 'wb', buffering=0) as file:\n"
        "        while written < 600: written += file.write(b'x' * 2**20) // 2**20\n"
        "except OSError: pass\n"
        "print('megabytes', written)",
        memory_mb=1769,
    )
    await running.ended()
    text = running.output.decode()
    assert text.count("refused") == 7
    assert "executed" in text
    megabytes = int(text.split("megabytes ")[1])
    assert 400 <= megabytes <= 512


async def test_a_full_tmp_is_not_the_functions_memory(bench: Any) -> None:
    """A 128 MB function may fill /tmp with 400 MB and live; its memory in use is reported without them."""
    running = await bench.run(
        "with open('/tmp/big', 'wb') as file:\n"
        "    for _ in range(400): file.write(b'x' * 2**20)\n"
        "print('filled', flush=True)\n"
        "import time; time.sleep(0.5); print('alive', flush=True)\n"
        "import os; os.read(3, 1)",
    )
    await running.sandbox.configure(memory_mb=128, ephemeral_mb=512, cpu_boost=True)
    await running.until("alive")
    assert 1 <= running.sandbox.memory_used_mb() < 100


async def test_too_much_memory_is_an_end_that_says_so(bench: Any) -> None:
    """A function over its memory is ended and the end says why."""
    running = await bench.run(HOG)
    await running.sandbox.configure(memory_mb=128, ephemeral_mb=512, cpu_boost=True)
    end = await running.ended()
    assert end.out_of_memory
    assert b"survived" not in running.output


async def test_a_child_over_the_memory_ends_the_function(bench: Any) -> None:
    """Memory of a child process counts as the function's."""
    running = await bench.run(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {HOG!r}])\nprint('on')")
    await running.sandbox.configure(memory_mb=128, ephemeral_mb=512, cpu_boost=True)
    assert (await running.ended()).out_of_memory


async def test_configure_gives_the_functions_memory(bench: Any) -> None:
    """A sandbox made small and configured large lets the function use what it was given, and tells its peak."""
    running = await bench.start()
    host_dir = next(path for path in bench.folder.iterdir() if path.is_dir())
    await running.sandbox.configure(memory_mb=1024, ephemeral_mb=512)
    await bench.spawn(running, host_dir, HOG + "import os; os.read(3, 1)")
    await running.until("survived")
    await asyncio.sleep(0.5)
    assert 380 <= running.sandbox.memory_used_mb() <= 600


async def test_the_processor_is_shared_in_proportion(bench: Any) -> None:
    """A function with a fourteenth of a vCPU's memory gets about a fourteenth of its time."""
    if not bench.shares_processor:
        pytest.skip("no control group can be written by this user")
    running = await bench.run(
        "import time, os\nos.read(3, 1)\n"
        "began, used = time.monotonic(), time.process_time()\n"
        "while time.monotonic() - began < 1: pass\n"
        "print('share', (time.process_time() - used) / (time.monotonic() - began), flush=True)",
    )
    await running.sandbox.configure(memory_mb=128, ephemeral_mb=512)
    await running.send(b"!")
    text = await running.until("share ")
    await running.ended()
    text = running.output.decode()
    assert float(text.split("share ")[1]) < 0.2


async def test_a_fork_bomb_is_harmless(bench: Any) -> None:
    """Processes are bounded, the worker still ends the sandbox at once, and a neighbour is not disturbed."""
    neighbour = await bench.run("import os\nwhile data := os.read(3, 10): os.write(3, data)")
    running = await bench.run(
        "import os, time\n"
        "count = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        count += 1\n"
        "except OSError: print('stopped after', count, flush=True)\n"
        "time.sleep(60)",
        memory_mb=1769,
    )
    text = await running.until("stopped after")
    assert int(text.split("stopped after ")[1].split()[0]) <= 1024
    await neighbour.send(b"still?")
    assert await neighbour.receive() == b"still?"
    began = time.monotonic()
    await running.sandbox.close()
    assert time.monotonic() - began < 8


async def test_open_files_are_bounded(bench: Any) -> None:
    """A function cannot hold more files open than its limit."""
    running = await bench.run(
        "held = []\n"
        "try:\n"
        "    while len(held) < 5000: held.append(open('/dev/null'))\n"
        "except OSError: pass\n"
        "print('files', len(held))"
    )
    await running.ended()
    assert int(running.output.decode().split("files ")[1]) <= 1024


async def test_nothing_of_the_worker_is_inherited(bench: Any) -> None:
    """The process starts with its three streams and the channel, and none of the worker's environment."""
    os.environ["LAMBENT_TEST_SECRET"] = "for the worker alone"
    running = await bench.run(
        "import os\n"
        "print('descriptors', sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:6])\n"
        "print('secret', os.environ.get('LAMBENT_TEST_SECRET'))"
    )
    await running.ended()
    del os.environ["LAMBENT_TEST_SECRET"]
    text = running.output.decode()
    assert "descriptors [0, 1, 2, 3, 4]" in text or "descriptors [0, 1, 2, 3, 5]" in text
    assert "secret None" in text
