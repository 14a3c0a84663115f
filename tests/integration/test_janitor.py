"""The janitor on a real Valkey and a real object store: what goes, and above all what stays."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lambent_platform.contracts.build import BuildOrder
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core import retention
from lambent_platform.core.functions import published, updated
from lambent_platform.gateway.lambda_api import deployment
from lambent_platform.scheduler import janitor as janitor_module
from lambent_platform.scheduler.janitor import Janitor
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.jobs import JobStore
from lambent_platform.store.logs import LogEvent, LogStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis

ACCOUNT, REGION = "000000000000", "us-east-1"
DAY_MS = 86_400_000


@dataclass
class Clock:
    """Event time, moved by hand."""

    ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self.ms


@dataclass
class House:
    """Stores, and the janitor that cleans them."""

    redis: RedisStore
    folder: Path

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.functions = FunctionStore(self.redis)
        self.jobs = JobStore(self.redis)
        self.objects = ObjectStore.local(self.folder)
        self.logs = LogStore(self.redis, self.objects, clock=self.clock)
        self.janitor = self.new_janitor()

    def new_janitor(self) -> Janitor:
        """A scheduler that has just become the leader."""
        return Janitor(
            self.redis, self.functions, self.jobs, self.objects, self.logs, self.clock,
            image_tag=lambda runtime: f"lambent/{runtime.name}:1",
        )  # fmt: skip

    async def clean(self, rounds: int = 2) -> int:
        """Let the janitor do whole rounds; an unused object goes in the second. Returns how many steps it took."""
        steps, until = 0, self.janitor.rounds + rounds
        while self.janitor.rounds < until:
            await self.janitor.step()
            steps += 1
            assert steps < 1000, "a round does not end"
            await asyncio.sleep(0.002)  # so that rounds do not begin in the same millisecond
        return steps

    async def put(self, key: str, *, age_s: float = 86_400) -> str:
        """Store an object of some age."""
        await self.objects.put(key, key.encode())
        self.age(key, age_s)
        return key

    def age(self, key: str, age_s: float = 86_400) -> None:
        """Make an object look as if it was put some time ago."""
        put_at = time.time() - age_s
        os.utime(self.folder / key, (put_at, put_at))

    def kept(self) -> set[str]:
        """The packages and build logs that are there."""
        return {
            str(path.relative_to(self.folder))
            for kind in ("code", "builds")
            for path in (self.folder / kind).rglob("*")
            if path.is_file()
        }

    def ident(self, name: str) -> str:
        """Name a function."""
        return f"{ACCOUNT}:{REGION}:{name}"

    async def create(self, name: str = "f", **code: Any) -> FunctionRecord:
        """Write a function with this code."""
        version = FunctionVersion(
            account=ACCOUNT, region=REGION, name=name, revision="r1", runtime="python3.13", state="Active",
            code=CodePackage(**code),
        )  # fmt: skip
        assert await self.functions.create(self.ident(name), FunctionRecord(versions={LATEST: version}))
        return await self.load(name)

    async def load(self, name: str = "f") -> FunctionRecord:
        """Read a function."""
        record = await self.functions.load(self.ident(name))
        assert record is not None
        return record

    async def delete(self, name: str = "f") -> None:
        """Delete a function."""
        assert await self.functions.delete(self.ident(name), await self.load(name))

    def prefix(self, name: str) -> str:
        """The partition of a function."""
        return self.redis.keys.prefix(self.ident(name))

    async def meter(self, name: str, *days_ago: float) -> None:
        """Count a call in hours of so many days ago."""
        now = datetime.fromtimestamp(self.clock.ms / 1000, UTC)
        for days in days_ago:
            hour = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H")
            for what in ("requests", "ms_mb"):
                await self.redis.client.hincrby(f"{self.prefix(name)}meter:{self.ident(name)}", f"{hour}:{what}", 1)

    async def metered(self, name: str) -> int:
        """How many fields a function's meter has."""
        return int(await self.redis.client.hlen(f"{self.prefix(name)}meter:{self.ident(name)}"))

    async def bury(self, name: str, *events: str) -> None:
        """Leave dead events behind."""
        for event in events:
            await self.redis.client.hset(f"{self.prefix(name)}ev:{event}", "ident", self.ident(name))
            await self.redis.client.rpush(f"{self.prefix(name)}dead:{self.ident(name)}", event)


@pytest.fixture(params=[1, 5], ids=["one partition", "five partitions"])
async def house(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """Empty stores, where an object goes in the second round that sees it unused."""
    monkeypatch.setattr(retention, "UNUSED_KEPT_MS", 1)
    async with open_redis(redis_url, partitions=request.param) as redis:
        await redis.client.flushall()
        yield House(redis, tmp_path / "objects")


async def test_packages_that_nothing_refers_to_go(house: House) -> None:
    """Of many, those stay that some version of some function refers to."""
    await house.put("code/unused.zip")
    await house.put("builds/dependencies-unused-python3-13.log")
    for name in ("source", "runnable", "second"):
        await house.put(f"code/{name}.zip")
    await house.put("builds/dependencies-source-python3-13.log")
    await house.put("builds/image-lambent-python3-13-1.log")
    await house.put("builds/image-lambent-python3-13-0.log")
    await house.create("a", source_key="code/source.zip", runnable_key="code/runnable.zip", needs_build=True)
    await house.create("b", source_key="code/second.zip", runnable_key="code/second.zip")
    await house.clean(1)
    assert "code/unused.zip" in house.kept(), "one look is not enough"
    await house.clean(1)
    assert house.kept() == {
        "code/source.zip", "code/runnable.zip", "code/second.zip",
        "builds/dependencies-source-python3-13.log", "builds/image-lambent-python3-13-1.log",
    }  # fmt: skip
    assert (house.folder / "owner").exists()


async def test_versions_and_what_is_still_served_count(house: House) -> None:
    """A package stays as long as a published version needs it, or calls run it during an update."""
    old, middle, new = [await house.put(f"code/{name}.zip") for name in ("old", "middle", "new")]
    record = await house.create("f", source_key=old, runnable_key=old)
    with_version, _ = published(record, revision="r2", revision_id="x", latest_revision_id="y", now_ms=0)
    assert await house.functions.write(house.ident("f"), record, with_version)
    for key in (middle, new):
        record = await house.load()
        latest = updated(
            replace(record.latest, last_update_status=""), {"code": CodePackage(source_key=key)},
            revision=key, revision_id=key, now_ms=0,
        )  # fmt: skip
        after = replace(record, versions={**record.versions, LATEST: latest})
        assert await house.functions.write(house.ident("f"), record, after)
    serving = (await house.load()).latest.serving.code.source_key
    await house.clean()
    assert house.kept() == {old, serving, new}
    await house.delete()
    await house.clean()
    assert house.kept() == set()


async def test_a_package_that_was_just_put_stays(house: House) -> None:
    """However often it is looked at, a package that no function refers to yet is not taken away under its uploader."""
    await house.put("code/fresh.zip", age_s=1)
    await house.put("code/nearly.zip", age_s=retention.PUT_KEPT_MS / 1000 - 30)
    await house.clean(4)
    assert house.kept() == {"code/fresh.zip", "code/nearly.zip"}


async def test_a_package_that_is_uploaded_again_is_as_good_as_new(house: House, zip_of: Any) -> None:
    """An upload of what is in the store already keeps it, although the function is written only later."""
    data = zip_of({"app.py": "def handler(e, c): pass"})
    key = f"code/{hashlib.sha256(data).hexdigest()}.zip"
    code = await deployment.package({"ZipFile": data}, "python3.13", house.objects)
    assert code.source_key == key
    house.age(key)
    await house.clean(1)
    await deployment.package({"ZipFile": data}, "python3.13", house.objects)
    await house.clean(3)
    assert house.kept() == {key}


async def test_a_package_that_is_put_again_between_look_and_removal_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object's age is looked at again just before it goes."""
    await house.put("code/a.zip")
    await house.clean(1)
    monkeypatch.setattr(janitor_module, "PAGES_PER_STEP", 1)
    ripe = janitor_module.Janitor._may_go
    looked: list[bool] = []

    def look(self: Janitor, found: Any, marked_at_ms: int) -> bool:
        looked.append(ripe(self, found, marked_at_ms))
        if len(looked) == 1:
            (house.folder / "code" / "a.zip").touch()
        return looked[-1]

    monkeypatch.setattr(janitor_module.Janitor, "_may_go", look)
    await house.clean(1)
    assert (looked, house.kept()) == ([True, False], {"code/a.zip"})


async def test_what_a_known_build_has_made_stays(house: House) -> None:
    """A built package is given to whoever wants the same next, so it stays while its build is known; then it goes."""
    order = BuildOrder(
        id="dependencies-x-python3-13", kind="dependencies", runtime="python3.13", source_key="code/x.zip"
    )
    await house.put("code/built.zip")
    await house.put("builds/dependencies-x-python3-13.log")
    await house.jobs.order(order)
    await house.jobs.claim(order.id, "me")
    assert await house.jobs.succeed(order.id, "me", result="code/built.zip")
    await house.clean(3)
    assert house.kept() == {"code/built.zip", "builds/dependencies-x-python3-13.log"}
    await house.jobs.forget([order.id])
    await house.clean()
    assert house.kept() == set()


async def test_an_object_store_of_other_data_is_left_alone(house: House) -> None:
    """On a Redis that lost its data, or is another platform's, "no function refers to it" means nothing."""
    await house.put("code/precious.zip")
    await house.create("f", source_key="code/precious.zip")
    await house.clean(1)
    await house.redis.client.flushall()
    house.janitor = house.new_janitor()
    await house.clean(4)
    assert house.kept() == {"code/precious.zip"}


async def test_references_that_were_read_too_long_ago_are_not_believed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that was held up, as by losing the lease in its middle, removes nothing."""
    await house.put("code/a.zip")
    monkeypatch.setattr(retention, "MARKS_KEPT_MS", 0)
    await house.clean(3)
    assert house.kept() == {"code/a.zip"}


async def test_steps_are_small(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round over many functions takes many steps, and finds all that they refer to."""
    monkeypatch.setattr(janitor_module, "FUNCTIONS_PER_PAGE", 10)
    monkeypatch.setattr(janitor_module, "REMOVALS_PER_PAGE", 10)
    kept = {await house.put(f"code/kept{n}.zip") for n in range(60)}
    for n, key in enumerate(sorted(kept)):
        await house.create(f"f{n}", source_key=key)
    for n in range(95):
        await house.put(f"code/unused{n}.zip")
    assert await house.clean(2) >= 4
    assert house.kept() == kept


async def test_a_step_that_fails_begins_anew(house: House) -> None:
    """After a failure the next step starts a round from its beginning, and ends it."""
    await house.put("code/a.zip")
    (house.folder / "owner").mkdir()
    with pytest.raises(Exception, match="object store"):
        await house.clean(1)
    (house.folder / "owner").rmdir()
    await house.clean()
    assert house.kept() == set()


async def test_logs_expire(house: House) -> None:
    """Chunks past their retention go, index and object, in event time; newer ones and their group stay."""
    for days in (8, 1):
        await house.logs.append("/aws/lambda/f", [LogEvent(house.clock.ms - days * DAY_MS, "s", f"{days} days")])
    await house.clean(1)
    events, _ = await house.logs.read("/aws/lambda/f")
    assert [event.message for event in events] == ["1 days"]
    assert len([path for path in (house.folder / "logs").rglob("*") if path.is_file()]) == 1
    house.clock.ms += 7 * DAY_MS
    await house.clean(1)
    assert await house.logs.read("/aws/lambda/f") == ([], None)


async def test_meters_are_trimmed(house: House) -> None:
    """Buckets of more than 62 days ago go, of every function; the others stay."""
    for name in ("a", "b"):
        await house.create(name)
        await house.meter(name, 0, 1, 61.5, 62.5, 400)
    await house.clean(1)
    assert [await house.metered(name) for name in ("a", "b")] == [6, 6]


async def test_what_deleted_functions_leave_goes(house: House) -> None:
    """Meter and dead events go with their function, also those that come after it was deleted; others' stay."""
    for name in ("gone", "stays"):
        await house.create(name)
        await house.meter(name, 0)
        await house.bury(name, f"{name}1", f"{name}2")
    await house.delete("gone")
    await house.clean(1)
    await house.meter("gone", 0)
    await house.bury("gone", "late")
    await house.clean(1)
    left = {key.decode().partition("}:")[2] for key in await house.redis.client.keys("*")}
    assert not {key for key in left if "gone" in key or "late" in key} - {"deleted"}
    assert {f"meter:{house.ident('stays')}", f"dead:{house.ident('stays')}", "ev:stays1", "ev:stays2"} <= left
    assert "deleted" in left


async def test_a_function_made_again_keeps_what_is_its_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the same name as a deleted one loses nothing, and the deleted one is forgotten in time."""
    for name in ("again", "gone"):
        await house.create(name)
        await house.delete(name)
    await house.create("again")
    await house.meter("again", 0)
    await house.bury("again", "e")
    await house.clean(1)
    assert await house.metered("again") == 2
    assert await house.redis.client.exists(f"{house.prefix('again')}ev:e")
    assert await house.redis.client.zcard(f"{house.prefix('gone')}deleted") == 1
    monkeypatch.setattr(retention, "DELETED_KEPT_MS", 0)
    await house.clean(1)
    assert not await house.redis.client.exists(f"{house.prefix('gone')}deleted")
