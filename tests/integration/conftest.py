"""A gateway over real HTTP with a real Valkey, and boto3 as its client."""

from __future__ import annotations

import asyncio
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.core.functions import awaits_preparation, preparation_failed, prepared
from lambent_platform.core.mappings import settled
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.lambda_api import LambdaServices, serve_lambda
from lambent_platform.gateway.lambda_api.code_download import CodeDownload
from lambent_platform.gateway.lambda_api.mapping_sources import QueueCheck
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import open_redis

ROLE = "arn:aws:iam::000000000000:role/r"


def make_zip(files: dict[str, str] | None = None) -> bytes:
    """Make a package; by default of one Python handler."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (files or {"app.py": "def handler(event, context):\n    return event\n"}).items():
            archive.writestr(name, text)
    return buffer.getvalue()


@dataclass(slots=True)
class LambdaApi:
    """The control plane's operations behind HTTP; `port` is where, `client` who asks."""

    redis_url: str
    folder: Path
    catalog: ServiceCatalog
    port: int = 0
    refusals: dict[str, str] = field(default_factory=dict)
    """Why preparing a function fails, by its name."""
    holding: bool = False
    """Nothing is prepared or settled while this is set."""
    queues: list[QueueRecord] = field(default_factory=list)
    """Queues to be made."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)

    @property
    def client(self) -> Any:
        """A new boto3 client."""
        return boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def create(self, name: str = "f", *, active: bool = True, **more: Any) -> dict[str, Any]:
        """Create a function, and by default wait until it is active."""
        client = self.client
        given = {"Runtime": "python3.13", "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": make_zip()}}
        made: dict[str, Any] = client.create_function(FunctionName=name, **{**given, **more})
        if active:
            self.wait("function_active_v2", name)
        return made

    def wait(self, waiter: str, name: str = "f", **more: Any) -> None:
        """Wait as tools do, only more often."""
        self.client.get_waiter(waiter).wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500}, **more)

    def run(self) -> None:
        """Serve until told to stop; runs in a thread of its own."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(self.redis_url))
            await redis.client.flushall()
            functions = FunctionStore(redis)
            objects = ObjectStore.local(self.folder)
            registry = Registry()
            mappings, queues = MappingStore(redis), QueueStore(redis)
            serve_lambda(
                registry,
                LambdaServices(
                    functions=functions,
                    objects=objects,
                    mappings=mappings,
                    queues=queues,
                    clock=SystemClock(),
                    mapping_checks={"sqs": QueueCheck(queues)},
                ),
            )
            app = make_app(registry, catalog=self.catalog, routes=[CodeDownload(objects).route()])
            self.port = await stack.enter_async_context(listening(app, "127.0.0.1", 0, drain_s=0.1))
            self._ready.set()
            while not self._stop.is_set():
                if not self.holding:
                    await self._prepare(functions)
                    await self._settle(mappings)
                for record in self.queues:
                    await queues.create(record)
                self.queues.clear()
                await asyncio.sleep(0.005)

    async def _prepare(self, functions: FunctionStore) -> None:
        """Do what the scheduler does, without workers and builds."""
        for ident in await functions.preparing():
            record = await functions.load(ident)
            if record is not None:
                ended = {number: self._ended(version) for number, version in record.versions.items()}
                await functions.write(ident, record, replace(record, versions=ended))

    async def _settle(self, mappings: MappingStore) -> None:
        """Do what the scheduler does, without polling anything."""
        for record in await mappings.changed(0):
            if record.state == "Deleting":
                await mappings.delete(record)
            elif record.changing:
                await mappings.write(replace(record, state=settled(record)))

    def _ended(self, version: FunctionVersion) -> FunctionVersion:
        reason = self.refusals.get(version.name)
        if not awaits_preparation(version):
            return version
        if reason:
            return preparation_failed(version, reason=reason, code="FunctionError", revision_id="failed")
        return prepared(version, revision_id="prepared")

    def start(self) -> Callable[[], None]:
        """Start serving; returns what ends it."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        assert self._ready.wait(10), "the gateway did not start"

        def stop() -> None:
            self._stop.set()
            thread.join(10)
            assert not thread.is_alive(), "the gateway did not end"

        return stop


@pytest.fixture(scope="session")
def service_catalog() -> ServiceCatalog:
    """The service models, loaded once for all tests."""
    return ServiceCatalog()


@pytest.fixture
def lambda_api(redis_url: str, tmp_path: Path, service_catalog: ServiceCatalog) -> Iterator[LambdaApi]:
    """A gateway with an empty store, in which functions become active by themselves."""
    api = LambdaApi(redis_url, tmp_path / "objects", service_catalog)
    stop = api.start()
    try:
        yield api
    finally:
        stop()


@pytest.fixture
def zip_of() -> Callable[[dict[str, str]], bytes]:
    """Make packages."""
    return make_zip
