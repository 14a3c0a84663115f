"""Dead events over HTTP: listed in pages, shown, sent again, removed; what is asked for wrongly is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from lambent_platform.contracts.events import EventMeta
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.lineage import turns
from lambent_platform.core.retries import Attempt, settle
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.dead_events import DeadEvents
from lambent_platform.store.clock import SystemTimer
from lambent_platform.store.dead_events import DeadEventStore
from lambent_platform.store.demand import DemandStore, WaitingEvent
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.redis import RedisStore, open_redis

F = FunctionRef("f")
ERROR = b'{"errorMessage":"no\\n good","errorType":"ValueError"}'


class House:
    """One function on an empty Valkey, and a gateway that serves its dead events."""

    def __init__(self, redis: RedisStore, session: aiohttp.ClientSession) -> None:
        self.redis = redis
        self.session = session
        self.functions = FunctionStore(redis)
        self.invocations = InvocationStore(redis)
        self.demand = DemandStore(redis)
        self.sent = 0

    async def bury(self, count: int = 1, *, ref: FunctionRef = F, payload: bytes = b'{"n": 1}') -> list[str]:
        """Let events of f fail for good; returns their ids."""
        ids = []
        record = await self.functions.load(F.ident)
        assert record is not None
        for _ in range(count):
            self.sent += 1
            meta = EventMeta(accepted_at_ms=1_000, function_arn=ref.qualified_arn, retries_max=0)
            event = Invocation(
                id=f"{self.sent:036d}",
                target=f"{F.ident}:{LATEST}:r1",
                kind="event",
                qualified_arn=ref.qualified_arn if ref.qualifier else ref.arn,
                payload=payload,
                client_context='{"a":1}',
                trace_id="Root=1-old",
            )
            await self.invocations.accept([(event, record.generation, meta)])
            failed = settle(Attempt(number=1, response=ERROR, function_error="Unhandled"), meta, now_ms=2_000)
            waiting = WaitingEvent(self.redis.keys.prefix(F.ident), event.id, 0, meta)
            assert await self.demand.drop(waiting, failed, look_again_ms=0)
            ids.append(event.id)
        return ids

    async def ask(self, path: str = "", method: str = "GET", **more: Any) -> tuple[int, Any]:
        """Ask below `/_lambent/dead`; returns status and JSON."""
        async with self.session.request(method, f"/_lambent/dead{path}", **more) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 405 else None

    async def queued(self) -> list[Invocation]:
        """The events that wait for f."""
        events = await self.demand.queued_events(f"{F.ident}:{LATEST}:r1")
        rows = [await self.redis.client.hget(f"{event.prefix}ev:{event.id}", "message") for event in events]
        return [Invocation.decode(row) for row in rows]


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    """A house with f, which is active."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        functions = FunctionStore(redis)
        version = FunctionVersion(
            account=F.account,
            region=F.region,
            name=F.name,
            revision="r1",
            runtime="python3.13",
            state="Active",
            code=CodePackage(runnable_key="code/x.zip"),
        )
        await functions.create(F.ident, FunctionRecord(versions={LATEST: version}))
        dead = DeadEvents(DeadEventStore(redis), functions, SystemTimer())
        app = make_app(Registry(), routes=[dead.route()])
        async with (
            listening(app, "127.0.0.1", 0, drain_s=0.1) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            yield House(redis, session)


async def test_they_are_listed_and_shown(house: House) -> None:
    """A list has everything but the payload, of which it has the beginning; one by its id has it whole."""
    assert await house.ask() == (200, {"functions": []})
    assert await house.ask("/f") == (200, {"events": [], "next": None})
    [event_id] = await house.bury(payload=b'"' + b"x" * 999 + b'"')
    assert await house.ask() == (200, {"functions": [{"name": "f", "count": 1}]})
    status, listed = await house.ask("/f")
    assert status == 200
    [event] = listed["events"]
    assert event == {
        "id": event_id,
        "function_arn": F.qualified_arn,
        "kind": "event",
        "reason": "RetriesExhausted after 1: ValueError: no good",
        "condition": "RetriesExhausted",
        "error_type": "ValueError",
        "error_message": "no\n good",
        "refusals": {},
        "attempts": 1,
        "accepted_at": "1970-01-01T00:00:01.000Z",
        "died_at": "1970-01-01T00:00:02.000Z",
        "payload_bytes": 1001,
        "payload_preview": '"' + "x" * 199,
    }
    status, shown = await house.ask(f"/f/{event_id}")
    assert shown == {**event, "trace_id": "Root=1-old", "payload": '"' + "x" * 999 + '"'}


async def test_they_are_listed_in_pages(house: House) -> None:
    """Oldest first; a page that ends before the last one says where the next begins."""
    ids = await house.bury(25)
    found, after = [], ""
    while True:
        _, page = await house.ask(f"/f?limit=10&after={after}")
        found += [event["id"] for event in page["events"]]
        if page["next"] is None:
            break
        assert len(page["events"]) == 10
        after = page["next"]
    assert found == ids


async def test_they_are_sent_again(house: House) -> None:
    """As new events: with ids, chains and attempts of their own, and everything else as it was."""
    ids = await house.bury(3)
    status, said = await house.ask("/f/redrive", "POST", json={"ids": [ids[1], "nothing", ids[1]]})
    assert (status, said["redriven"]) == (200, 1)
    assert said["failed"] == [{"id": "nothing", "reason": "It is not among the dead events."}]
    [event] = await house.queued()
    assert event.id not in ids
    assert (event.payload, event.client_context, event.qualified_arn) == (b'{"n": 1}', '{"a":1}', F.arn)
    assert turns(event.trace_id, F.ident) == 1
    status, said = await house.ask("/f/redrive", "POST", json={"all": True})
    assert (status, said) == (200, {"redriven": 2, "failed": []})
    assert len(await house.queued()) == 3
    assert await house.ask("/f") == (200, {"events": [], "next": None})
    assert await house.ask("/f/redrive", "POST", json={"all": True}) == (200, {"redriven": 0, "failed": []})


async def test_what_cannot_be_sent_again_stays(house: House) -> None:
    """A version that is gone, and a function that is being made: the events stay dead, and it says why."""
    [event_id] = await house.bury(ref=F.at("7"))
    _, said = await house.ask("/f/redrive", "POST", json={"all": True})
    assert said["redriven"] == 0
    assert said["failed"][0]["reason"].startswith("ResourceNotFoundException: Function not found: ")
    before = await house.functions.load(F.ident)
    assert before is not None
    pending = replace(before, versions={LATEST: replace(before.latest, state="Pending")})
    assert await house.functions.write(F.ident, before, pending)
    [other] = await house.bury()
    _, said = await house.ask("/f/redrive", "POST", json={"ids": [other]})
    assert said["failed"][0]["reason"].startswith("ResourceConflictException: ")
    _, listed = await house.ask("/f")
    assert [event["id"] for event in listed["events"]] == [event_id, other]


async def test_they_are_removed(house: House) -> None:
    """Some or all; nothing of them stays behind."""
    ids = await house.bury(3)
    assert await house.ask("/f/purge", "POST", json={"ids": [ids[0], "nothing"]}) == (200, {"purged": 1})
    assert await house.ask("/f/purge", "POST", json={"all": True}) == (200, {"purged": 2})
    assert await house.ask("/f/purge", "POST", json={"all": True}) == (200, {"purged": 0})
    left = {key.decode().removeprefix(house.redis.keys.home) for key in await house.redis.client.keys("*")}
    assert not [key for key in left if key.startswith(("ev:", "dead"))]


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/none", "GET", None, 404),
        ("/f/none", "GET", None, 404),
        ("/f?limit=0", "GET", None, 400),
        ("/f?limit=101", "GET", None, 400),
        ("/f?limit=x", "GET", None, 400),
        ("/f", "POST", b"{}", 405),
        ("/f/redrive", "GET", None, 405),
        ("", "DELETE", None, 405),
        ("/f/redrive", "POST", b"", 400),
        ("/f/redrive", "POST", b"[]", 400),
        ("/f/redrive", "POST", b'{"ids": []}', 400),
        ("/f/redrive", "POST", b'{"ids": [1]}', 400),
        ("/f/redrive", "POST", b'{"all": true, "ids": ["x"]}', 200),
        ("/f/purge", "POST", b'{"all": false}', 400),
        ("/f/purge", "POST", b"{", 400),
        ("/f/purge", "POST", b" " * 200_000, 413),
    ],
)
async def test_what_is_refused(house: House, path: str, method: str, body: bytes | None, status: int) -> None:
    """Nothing is touched by a request that is not clear."""
    [event_id] = await house.bury()
    assert (await house.ask(path, method, data=body))[0] == status
    _, listed = await house.ask("/f")
    assert [event["id"] for event in listed["events"]] == [event_id]
