"""The generic layer: finds the operation of a request, parses, validates, runs it, and writes the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from lambent_platform.contracts.errors import ApiError, NotImplementedByUs, ValidationFailed
from lambent_platform.contracts.limits import CREATE_REQUEST_BYTES, DEFAULT_ACCOUNT, DEFAULT_REGION, MIB
from lambent_platform.gateway.aws import detection
from lambent_platform.gateway.aws.body import BODY_TIMEOUT_S, read_body
from lambent_platform.gateway.aws.catalog import Protocol, Service, ServiceCatalog
from lambent_platform.gateway.aws.http import HttpReply, HttpRequest, split_query
from lambent_platform.gateway.aws.parsing import parse_json, parse_query, parse_rest
from lambent_platform.gateway.aws.problems import entity_too_large, invalid_action, unknown_operation
from lambent_platform.gateway.aws.registry import Params, Registry, RequestContext, Result, Served
from lambent_platform.gateway.aws.serialization import reply_json, reply_query, reply_rest

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import OperationModel, Shape

MESSAGE_REQUEST_BYTES: Final = 8 * MIB
"""Largest body outside of Lambda's own API: a 1 MiB message or log batch, with room for JSON's escapes."""

INVOKE_PREFIX: Final = "/2015-03-31/functions/"
INVOKE_SUFFIX: Final = "/invocations"


@dataclass(slots=True)
class Call:
    """One request on its way through the layer; what is known of it so far decides how an error is written."""

    request: web.Request
    context: RequestContext
    scope: detection.Scope
    service: Service | None = None
    protocol: Protocol | None = None
    """The one that is spoken, where it is not the one of the service's model."""
    operation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    """Read early where the operation's name is in it."""


class Api:
    """Answers the requests of every service in the catalog from the registry."""

    def __init__(
        self,
        registry: Registry,
        catalog: ServiceCatalog,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._account = account
        self._region = region
        self._body_timeout_s = body_timeout_s

    def open_call(self, request: web.Request, path: str, raw_query: str, request_id: str) -> Call:
        """Collect what every operation may know of a request. Does no I/O and raises nothing."""
        headers = request.headers
        scope = detection.read_scope(headers.get("Authorization", ""), raw_query)
        context = RequestContext(
            account=self._account,
            region=scope.region or self._region,
            request_id=request_id,
            base_url=f"{request.scheme}://{headers.get('Host') or _own_address(request)}",
            path=path,
            raw_query=raw_query,
            headers=headers,
            access_key=scope.access_key,
            gone=lambda: request.transport is None or request.transport.is_closing(),
        )
        return Call(request, context, scope)

    async def handle(self, call: Call) -> web.StreamResponse:
        """Answer one request.

        Raises:
            ApiError: any error of the request, written by the caller for `call.service`.
            ConnectionError, aiohttp.ClientPayloadError: the client went away within its body.
        """
        headers = {name.lower(): value for name, value in call.request.headers.items()}
        await self._find(call, headers)
        service = call.service
        if service is None or call.operation not in service.operation_names:
            if call.protocol == "query":
                raise invalid_action(call.operation)
            raise unknown_operation(f"Unknown operation {call.operation}".strip(), status=400)
        served = self._registry.find(service.name, call.operation)
        if served is None:
            raise NotImplementedByUs(f"{service.name} {call.operation} is not implemented.")
        if served.raw is not None:
            return await served.raw(call.context, call.request, call.labels)
        return _response(await self._run(call, service, served, headers), call.context.request_id)

    def invoke_handler(self, path: str) -> tuple[Served, Mapping[str, str]] | None:
        """Recognise Invoke by its path alone, without a model; None for anything else or where it is not served raw."""
        if not (path.startswith(INVOKE_PREFIX) and path.endswith(INVOKE_SUFFIX)):
            return None
        name = path[len(INVOKE_PREFIX) : -len(INVOKE_SUFFIX)]
        served = self._registry.find("lambda", "Invoke")
        # An encoded name goes the general way, which decodes it.
        if not name or "/" in name or "%" in name or served is None or served.raw is None:
            return None
        return served, {"FunctionName": name}

    def error_service(self, call: Call) -> Service | None:
        """Return the service whose protocol an error of `call` is written in: Lambda's unless another is known."""
        if call.service is not None:
            return call.service
        return self._catalog.get("lambda") if "lambda" in self._catalog.entries else None

    async def _find(self, call: Call, headers: Mapping[str, str]) -> None:
        """Set service and operation of a call, and what was read to find them."""
        target = headers.get("x-amz-target")
        if target is not None:
            self._find_target(call, target)
            return
        path = call.context.path
        call.query = split_query(call.context.raw_query)
        rest = detection.rest_service(self._catalog, path)
        if rest is not None:
            call.service = self._catalog.get(rest)
            match = call.service.router.find(call.request.method, path, call.query)
            if match is None:
                raise unknown_operation(f"Unable to determine service/operation name to be authorized: {path[:256]}")
            call.operation, call.labels = match.operation, match.labels
            return
        if detection.is_form(headers):
            call.body = await self._read(call, MESSAGE_REQUEST_BYTES, "requested")
            call.query = [*call.query, *split_query(call.body.decode("utf-8", "replace"))]
        action = detection.query_action(self._catalog, call.scope, call.query, path)
        if action is None:
            raise unknown_operation(f"Unable to determine service/operation name to be authorized: {path[:256]}")
        name, call.operation = action
        service = self._catalog.get(name) if name is not None else None
        if service is not None and (service.protocol == "query" or service.query_names is not None):
            call.service, call.protocol = service, "query"

    def _find_target(self, call: Call, target: str) -> None:
        found = detection.split_target(self._catalog, target)
        call.operation = target[:256]
        if found is not None:
            call.service = self._catalog.get(found[0])
            call.operation = found[1]

    async def _run(self, call: Call, service: Service, served: Served, headers: Mapping[str, str]) -> HttpReply:
        protocol = call.protocol or service.protocol
        model = service.operation(call.operation, protocol)
        if call.body is None:
            limit = CREATE_REQUEST_BYTES if protocol == "rest-json" else MESSAGE_REQUEST_BYTES
            call.body = await self._read(call, limit, call.operation)
        params: Params
        if protocol == "rest-json":
            request = HttpRequest(method=call.request.method, path=call.context.path, headers=headers, body=call.body)
            params = parse_rest(model, request, call.labels, call.query)
        elif protocol == "json":
            params = parse_json(model, call.body)
        else:
            params = parse_query(model, call.query)
            if service.query_names is not None and not params.get("QueueUrl") and len(call.context.path) > 1:
                params["QueueUrl"] = call.context.base_url + call.context.path
        call.body = None  # Up to 70 MB, which the parameters hold again.
        return await run_operation(service, served, call.context, model, params, protocol)

    async def _read(self, call: Call, limit: int, operation: str) -> bytes:
        too_large = entity_too_large(limit, operation)
        return await read_body(call.request, limit, too_large, timeout_s=self._body_timeout_s)


async def run_operation(
    service: Service, served: Served, context: RequestContext, model: OperationModel, params: Params, protocol: Protocol
) -> HttpReply:
    """Check the parameters of an operation, run it, and write its reply.

    Raises:
        ApiError: any error of the request.
    """
    if model.input_shape is not None:
        _check(service, model.input_shape, params, served.unchecked)
    assert served.run is not None
    result: Result = await served.run(context, params)
    if protocol == "rest-json":
        return reply_rest(model, result)
    if protocol == "json":
        return reply_json(model, result, service.model.metadata["jsonVersion"])
    return reply_query(model, result, service.model_of(protocol).metadata["xmlNamespace"], context.request_id)


def _check(service: Service, shape: Shape, params: Params, unchecked: frozenset[str]) -> None:
    if service.query_names is not None:
        # Its model has no constraints but these, which it reports under a code and in words of its own.
        for name in shape.required_members:
            if params.get(name) is None:
                raise ApiError(f"The request must contain the parameter {name}.", code="MissingParameter", status=400)
        return
    try:
        service.validator.check(shape, params, unchecked)
    except ValidationFailed as error:
        if service.validation_code:
            error.code = service.validation_code
        raise


def _own_address(request: web.Request) -> str:
    """Return the address that a client without a Host header connected to."""
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "localhost"


def _response(reply: HttpReply, request_id: str) -> web.Response:
    return web.Response(
        status=reply.status, headers={"x-amzn-RequestId": request_id, **reply.headers}, body=reply.body or None
    )
