"""A gateway with API Gateway v2's operations and the APIs made by them; the functions are the test's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.apis import serve_apis
from lambent_platform.gateway.apis.access import ApiServices
from lambent_platform.gateway.apis.connection_operations import ConnectionOperations
from lambent_platform.gateway.apis.entrance import Entrance
from lambent_platform.gateway.apis.http_apis import HttpApis
from lambent_platform.gateway.apis.hub import Hub
from lambent_platform.gateway.apis.sites import Sites
from lambent_platform.gateway.apis.socket_apis import SocketApis
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Params, Registry, RequestContext, Result, operation
from lambent_platform.store.apis import ApiStore
from lambent_platform.store.connections import ConnectionStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.redis import RedisStore, open_redis


@dataclass
class Answer:
    """What a client saw."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Queues:
    """An operation of the platform's that no site is to reach."""

    @operation("ListQueues")
    async def list_queues(self, context: RequestContext, params: Params) -> Result:
        """Be reached."""
        return {"QueueUrls": ["reached"]}


@dataclass(slots=True)
class Gateway:
    """A running gateway; `handlers` are its functions by name, `port` is where it listens."""

    redis_url: str
    catalog: ServiceCatalog
    handlers: dict[str, Callable[[dict[str, Any]], object]] = field(default_factory=dict)
    called: list[FunctionRef] = field(default_factory=list)
    flush: bool = True
    delay_s: float = 0.0
    idle_s: float = 600.0
    max_s: float = 7200.0
    port: int = 0
    id: str = field(default_factory=lambda: f"gateway-{uuid.uuid4().hex[:8]}")
    _stop: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run a function of the test's; one without a handler gives its event back."""
        self.called.append(ref)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        result = self.handlers.get(ref.name, lambda event: event)(json.loads(payload))
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Reply):
            return result
        return Reply(id="", payload=json.dumps(result).encode(), executed_version=LATEST)

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(self.redis_url))
            if self.flush:
                await redis.client.flushall()
            apis, registry, clock = ApiStore(redis), Registry(), SystemClock()
            sites = Sites(apis)
            hub = Hub(ConnectionStore(redis), gateway_id=self.id)
            serve_apis(registry, ApiServices(apis=apis, sites=sites, clock=clock))
            registry.serve("sqs", Queues())
            connections = ConnectionOperations(hub)
            registry.serve("apigatewaymanagementapi", connections)
            sockets = SocketApis(self, clock, sites, hub, idle_s=self.idle_s, max_s=self.max_s)
            entrance = Entrance(sites, HttpApis(self, clock), sockets, connections, self.catalog)
            await stack.enter_async_context(hub.running())
            beating = asyncio.create_task(self._beat(redis))
            stack.callback(beating.cancel)
            app = make_app(
                registry, catalog=self.catalog, hosts=[entrance.host_route()], routes=[entrance.path_route()]
            )
            self.port = await stack.enter_async_context(listening(app, "127.0.0.1", 0, drain_s=0.1))
            await asyncio.to_thread(self._stop.wait)
            await hub.leave()

    async def _beat(self, redis: RedisStore) -> None:
        """Say that this gateway lives, as its dispatcher would."""
        fleet = FleetStore(redis)
        while True:
            await fleet.beat_gateway(self.id, now_ms=await redis.now_ms())
            self._ready.set()
            await asyncio.sleep(0.5)

    def start(self) -> Callable[[], None]:
        """Start serving in a thread; returns what ends it."""
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        thread.start()
        assert self._ready.wait(10), "the gateway did not start"

        def stop() -> None:
            self._stop.set()
            thread.join(10)
            assert not thread.is_alive(), "the gateway did not end"

        return stop

    @property
    def client(self) -> Any:
        """A new boto3 client."""
        return boto3.client(
            "apigatewayv2",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

    def management(self, api: str, stage: str = "dev", *, by_path: bool = False) -> Any:
        """A client of the management API for a stage, by its host or by the path form."""
        # The resolver of this machine need not know names below localhost; browsers and SDKs elsewhere do.
        url = f"http://127.0.0.1:{self.port}/_api/{api}/{stage}"
        if not by_path:
            url = f"http://{api}.execute-api.us-east-1.localhost:{self.port}/{stage}"
        return boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

    def socket_api(self, routes: Mapping[str, str], *, two_way: Sequence[str] = (), stage: str = "dev") -> str:
        """Make a WebSocket API with routes to functions, some of them two-way, deployed to a stage."""
        client = self.client
        api_id = str(
            client.create_api(Name="chat", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action")[
                "ApiId"
            ]
        )
        for key, name in routes.items():
            made = client.create_integration(ApiId=api_id, IntegrationType="AWS_PROXY", IntegrationUri=self.arn(name))
            more = {"RouteResponseSelectionExpression": "$default"} if key in two_way else {}
            route = client.create_route(
                ApiId=api_id, RouteKey=key, Target=f"integrations/{made['IntegrationId']}", **more
            )
            if key in two_way:
                client.create_route_response(ApiId=api_id, RouteId=route["RouteId"], RouteResponseKey="$default")
        client.create_deployment(ApiId=api_id)
        client.create_stage(
            ApiId=api_id, StageName=stage, DeploymentId=client.get_deployments(ApiId=api_id)["Items"][0]["DeploymentId"]
        )
        return api_id

    @staticmethod
    def arn(name: str) -> str:
        """The ARN of a function."""
        return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"

    def api(self, routes: Mapping[str, str], *, payload: str = "2.0", stage: str = "$default", **more: Any) -> str:
        """Make an HTTP API with routes to functions and a stage that follows it; returns its id."""
        client = self.client
        api_id = str(client.create_api(Name="site", ProtocolType="HTTP", **more)["ApiId"])
        for key, name in routes.items():
            made = client.create_integration(
                ApiId=api_id,
                IntegrationType="AWS_PROXY",
                IntegrationUri=self.arn(name),
                PayloadFormatVersion=payload,
            )
            client.create_route(ApiId=api_id, RouteKey=key, Target=f"integrations/{made['IntegrationId']}")
        client.create_stage(ApiId=api_id, StageName=stage, AutoDeploy=True)
        return api_id

    def get(self, host: str, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Make one request to an API by its host, or with an empty `host` by the path; dashes are underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        name = f"{host}.execute-api.us-east-1.localhost:{self.port}" if host else f"127.0.0.1:{self.port}"
        try:
            connection.request(
                method, path, body, {"Host": name} | {key.replace("_", "-"): value for key, value in headers.items()}
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
