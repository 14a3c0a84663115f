"""Functions on a real Valkey: written whole or not at all, and found again by name, URL and state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lambent_platform.contracts.function import Alias, CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.functions import being_created, prepared, published, updated
from lambent_platform.store.functions import URL_ID, FunctionStore, ReservationExceeded
from lambent_platform.store.redis import RedisStore, open_redis

ACCOUNT, REGION = "000000000000", "us-east-1"


def ident(name: str = "f", region: str = REGION) -> str:
    """Name a function."""
    return f"{ACCOUNT}:{region}:{name}"


def pending(name: str = "f", region: str = REGION) -> FunctionRecord:
    """A function that was just created."""
    version = FunctionVersion(
        account=ACCOUNT, region=region, name=name, revision="r1", runtime="python3.13", code=CodePackage(size_bytes=10)
    )
    return FunctionRecord(versions={LATEST: being_created(version)})


def active(record: FunctionRecord) -> FunctionRecord:
    """The same, prepared."""
    return replace(record, versions={n: prepared(v, revision_id="p") for n, v in record.versions.items()})


@pytest.fixture(params=[1, 5], ids=["one partition", "five partitions"])
async def redis(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store."""
    async with open_redis(redis_url, partitions=request.param) as store:
        await store.client.flushall()
        yield store


@pytest.fixture
def functions(redis: RedisStore) -> FunctionStore:
    """What is tested."""
    return FunctionStore(redis)


async def created(functions: FunctionStore, name: str = "f", **changes: object) -> FunctionRecord:
    """Create a function and read it."""
    assert await functions.create(ident(name), replace(active(pending(name)), **changes))  # type: ignore[arg-type]
    record = await functions.load(ident(name))
    assert record is not None
    return record


async def test_a_record_comes_back_as_it_was(functions: FunctionStore) -> None:
    """Every part of a function survives, and its generation is set."""
    record, _ = published(
        active(pending()), revision="r2", revision_id="i2", latest_revision_id="i3", now_ms=0, description="d"
    )
    record = replace(
        record,
        aliases={"live": Alias(name="live", version="1", weights={"1": 0.5}, revision_id="x")},
        tags={"a": "b"},
        policies={"": {"Statement": []}},
        url_configs={LATEST: {URL_ID: functions.new_url_id(ident()), "AuthType": "NONE"}},
        event_invoke_configs={"live": {"MaximumRetryAttempts": 0}},
        reserved_concurrency=7,
    )
    assert await functions.create(ident(), record)
    found = await functions.load(ident())
    assert found is not None
    assert found.generation > 0
    assert replace(found, generation=0) == record
    assert await functions.load(ident("other")) is None


async def test_what_was_taken_away_is_gone(functions: FunctionStore) -> None:
    """A write without a part deletes that part and nothing else."""
    before = await created(
        functions,
        tags={"a": "b"},
        aliases={"x": Alias(name="x", version=LATEST), "y": Alias(name="y", version=LATEST)},
        event_invoke_configs={LATEST: {}},
        reserved_concurrency=3,
    )
    after = replace(
        before, tags={}, aliases={"y": before.aliases["y"]}, event_invoke_configs={}, reserved_concurrency=None
    )
    assert await functions.write(ident(), before, after)
    found = await functions.load(ident())
    assert found is not None
    assert replace(found, generation=0) == replace(after, generation=0)


async def test_of_two_writers_one_wins(functions: FunctionStore) -> None:
    """Writers that read the same generation do not overwrite each other; none writes what was deleted."""
    before = await created(functions)
    results = await asyncio.gather(
        *(functions.write(ident(), before, replace(before, tags={"n": n})) for n in "abcdef")
    )
    assert sorted(results) == [False] * 5 + [True]
    assert not await functions.delete(ident(), before)
    current = await functions.load(ident())
    assert current is not None
    assert await functions.delete(ident(), current)
    assert not await functions.write(ident(), current, current)
    assert await functions.load(ident()) is None


async def test_one_creation_of_many_wins(functions: FunctionStore) -> None:
    """A name is given once."""
    results = await asyncio.gather(*(functions.create(ident(), pending()) for _ in range(6)))
    assert sorted(results) == [False] * 5 + [True]


async def test_generations_are_never_used_twice(functions: FunctionStore) -> None:
    """A function that is deleted and made again is not taken for the earlier one by who had read that."""
    first = await created(functions)
    assert await functions.delete(ident(), first)
    second = await created(functions)
    assert second.generation > first.generation
    assert not await functions.write(ident(), first, first)


async def test_calls_see_the_old_revision_until_the_new_is_prepared(
    functions: FunctionStore, redis: RedisStore
) -> None:
    """`live:<version>` is what environments are checked against."""
    record = await created(functions)

    async def live() -> bytes | None:
        found: bytes | None = await redis.client.hget(redis.keys.function(ident()), f"live:{LATEST}")
        return found

    assert await live() == b"r1"
    begun = updated(record.latest, {"timeout_s": 9}, revision="r2", revision_id="i", now_ms=0)
    assert await functions.write(ident(), record, replace(record, versions={LATEST: begun}))
    assert await live() == b"r1"
    record = await functions.load(ident()) or record
    assert await functions.write(ident(), record, active(record))
    assert await live() == b"r2"


async def test_what_awaits_preparation_is_known_and_wakes(functions: FunctionStore, redis: RedisStore) -> None:
    """A function is in `preparing` exactly while one of its versions is pending or being updated."""
    wakes = [f"{prefix}wake-preparation" for prefix in redis.keys.prefixes]
    await functions.create(ident(), pending())
    await functions.create(ident("g"), active(pending("g")))
    assert await functions.preparing() == [ident()]
    assert sum([await redis.client.llen(key) for key in wakes]) == 1
    record = await functions.load(ident())
    assert record is not None
    assert await functions.write(ident(), record, active(record))
    assert await functions.preparing() == []
    await functions.create(ident("h"), pending("h"))
    record = await functions.load(ident("h"))
    assert record is not None
    await functions.delete(ident("h"), record)
    assert await functions.preparing() == []


async def test_pages_go_by_name_within_account_and_region(functions: FunctionStore) -> None:
    """Lists are in order over all partitions, and regions are apart even where one's name begins another's."""
    names = [f"f{n:02d}" for n in range(23)]
    for name in reversed(names):
        await functions.create(ident(name), pending(name))
    await functions.create(ident("x", "us-east-10"), pending("x", "us-east-10"))
    seen: list[str] = []
    while page := await functions.page(ACCOUNT, REGION, after=seen[-1] if seen else "", limit=5):
        seen += [one.rpartition(":")[2] for one in page]
    assert seen == names
    latest = await functions.load_latest([ident("f03"), ident("gone"), ident("f01")])
    assert [version.name for version in latest] == ["f03", "f01"]
    assert [r.latest.name for r in await functions.load_many([ident("gone"), ident("f02")])] == ["f02"]


async def test_urls_are_found_by_one_look(functions: FunctionStore) -> None:
    """A URL's id leads to its function while it has it."""
    url_id = functions.new_url_id(ident())
    assert len(url_id) == 32
    before = await created(functions, url_configs={"live": {URL_ID: url_id}})
    assert await functions.find_url(url_id) == (ident(), "live")
    assert await functions.write(ident(), before, replace(before, url_configs={}))
    assert await functions.find_url(url_id) is None
    other = functions.new_url_id(ident("g"))
    record = await created(functions, "g", url_configs={LATEST: {URL_ID: other}})
    await functions.delete(ident("g"), record)
    assert await functions.find_url(other) is None


async def test_reservations_are_counted_over_all_functions(functions: FunctionStore) -> None:
    """At most 900 of 1000 are reserved, whoever asks first; a refused write changes nothing."""
    f = await created(functions, "f", reserved_concurrency=500)
    g = await created(functions, "g", reserved_concurrency=400)
    assert await functions.reserved() == 900
    with pytest.raises(ReservationExceeded):
        await functions.write(ident("g"), g, replace(g, reserved_concurrency=401, tags={"a": "b"}))
    assert await functions.load(ident("g")) == g
    assert await functions.delete(ident("f"), f)
    assert await functions.reserved() == 400
    assert await functions.write(ident("g"), g, replace(g, reserved_concurrency=900))
    assert await functions.reserved() == 900


async def test_usage_follows_every_write(functions: FunctionStore) -> None:
    """Functions and bytes are counted per account and region."""
    record = await created(functions)
    await created(functions, "g")
    await functions.create(ident("h", "eu-west-1"), pending("h", "eu-west-1"))
    assert await functions.usage(ACCOUNT, REGION) == (2, 20)
    more, _ = published(record, revision="r", revision_id="i", latest_revision_id="j", now_ms=0)
    assert await functions.write(ident(), record, more)
    assert await functions.usage(ACCOUNT, REGION) == (2, 30)
    current = await functions.load(ident())
    assert current is not None
    await functions.delete(ident(), current)
    assert await functions.usage(ACCOUNT, REGION) == (1, 10)
