"""Records of stacks: over HTTP, on a real Valkey, written by one deployment at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lambent.connection import Connection, Credentials
from lambent.errors import ApiError, DeployFailed
from lambent.template.record import Recorded, StackRecord
from lambent.template.record_keeping import RecordKeeper
from lambent.transport import Transport
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.stacks import RECORD_BYTES_MAX, StackPages
from lambent_platform.store.redis import open_redis
from lambent_platform.store.stacks import StackStore


@pytest_asyncio.fixture
async def transport(redis_url: str) -> AsyncIterator[Transport]:
    """A client of a gateway with an empty store of three partitions."""
    async with open_redis(redis_url, partitions=3) as redis:
        await redis.client.flushall()
        app = make_app(Registry(), routes=[StackPages(StackStore(redis)).route()])
        async with (
            listening(app, "127.0.0.1", 0, drain_s=0.1) as port,
            Transport(Connection(f"http://127.0.0.1:{port}")) as transport,
        ):
            yield transport


def stack(name: str) -> StackRecord:
    """A stack with one queue."""
    return StackRecord(name, {"Q": Recorded("Q", "AWS::SQS::Queue", {"QueueName": "q"}, "made")})


async def test_a_record_is_kept_listed_and_removed(transport: Transport) -> None:
    """What was saved is loaded, under its name and nowhere else, until it is removed."""
    keeper = RecordKeeper(transport)
    assert await keeper.load("shop") is None
    for name in ("shop", "a", "z9"):
        await keeper.save(stack(name))
    assert await keeper.names() == ["a", "shop", "z9"]
    found = await keeper.load("shop")
    assert found is not None
    assert (found.resources, found.revision) == (stack("shop").resources, 1)
    found.complete = True
    await keeper.save(found)
    again = await keeper.load("shop")
    assert again is not None
    assert (again.complete, again.revision) == (True, 2)
    await keeper.remove(again)
    assert await keeper.load("shop") is None
    assert await keeper.names() == ["a", "z9"]


async def test_of_many_writers_one_wins_each_time(transport: Transport) -> None:
    """Whoever read an older state is told so, and overwrites nothing; so does who would remove it."""
    keeper = RecordKeeper(transport)

    async def write(writer: int) -> int | None:
        record = stack("shop")
        record.outputs = {"writer": str(writer)}
        try:
            await keeper.save(record)
        except DeployFailed:
            return None
        return writer

    won = [each for each in await asyncio.gather(*map(write, range(20))) if each is not None]
    assert len(won) == 1
    found = await keeper.load("shop")
    assert found is not None
    assert found.outputs == {"writer": str(won[0])}
    stale = stack("shop")
    stale.revision = 7
    for change in (keeper.save, keeper.remove):
        with pytest.raises(DeployFailed, match="somebody else is deploying the stack shop"):
            await change(stale)
    assert await keeper.load("shop") == found


async def test_regions_have_their_own(transport: Transport) -> None:
    """As everything of AWS's: the region of the signature counts."""
    await RecordKeeper(transport).save(stack("shop"))
    elsewhere = Connection(transport.connection.endpoint, "eu-west-1", Credentials("a", "b"))
    async with Transport(elsewhere) as other:
        assert await RecordKeeper(other).names() == []
        assert await RecordKeeper(other).load("shop") is None


@pytest.mark.parametrize(
    ("method", "path", "revision", "body", "status"),
    [
        ("GET", "/_lambent/stacks/nope", None, b"", 404),
        ("PUT", "/_lambent/stacks/shop", None, b"{}", 400),
        ("PUT", "/_lambent/stacks/shop", "nope", b"{}", 400),
        ("PUT", "/_lambent/stacks/shop", '"0"', b"[]", 400),
        ("PUT", "/_lambent/stacks/shop", '"0"', b"{", 400),
        ("PUT", "/_lambent/stacks/shop", '"0"', b"x" * (RECORD_BYTES_MAX + 1), 413),
        ("PUT", "/_lambent/stacks/shop", '"3"', b"{}", 412),
        ("DELETE", "/_lambent/stacks/shop", '"3"', b"", 412),
        ("POST", "/_lambent/stacks/shop", '"0"', b"{}", 405),
        ("POST", "/_lambent/stacks", None, b"{}", 405),
    ],
)
async def test_wrong_requests_change_nothing(
    transport: Transport, method: str, path: str, revision: str | None, body: bytes, status: int
) -> None:
    """Each is answered with its own status."""
    headers = {} if revision is None else {"If-Match": revision}
    with pytest.raises(ApiError) as caught:
        await transport.request(method, path, headers=headers, body=body)
    assert caught.value.status == status
    assert await RecordKeeper(transport).names() == []
