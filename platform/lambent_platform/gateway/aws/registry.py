"""Which operations are served, and by what.

An operation is one async function from validated parameters to a result, both in the shapes of the service model:

    class FunctionOperations:
        @operation("GetFunction")
        async def get_function(self, context: RequestContext, params: Params) -> Result:
            return {"Configuration": {...}}

    registry = Registry()
    registry.serve("lambda", FunctionOperations(store))

The registry holds no model and does no I/O; the protocol layer asks it by service and operation name.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from aiohttp import web

from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION

Params = dict[str, Any]
"""Input members by their names in the model: numbers, booleans, strings, bytes (blobs), aware datetimes (timestamps),
lists, dictionaries. A member that the caller did not send is absent, never None."""

Result = Mapping[str, Any]
"""Output members by their names in the model. None leaves a member out; anything else, empty or not, is shown.
A streaming blob may be bytes. Timestamps are datetimes, or numbers of seconds since the epoch, or ready strings."""

_MARK = "__aws_operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What an operation may know of its request besides its parameters."""

    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION
    request_id: str = ""
    """A UUID, also in the reply's `x-amzn-RequestId`."""
    base_url: str = ""
    """Scheme, host and port as the client saw them, without a slash at the end: `http://127.0.0.1:4566`."""
    path: str = ""
    """The raw path, still percent-encoded."""
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """As received; names compare without case where it comes from a real request."""
    access_key: str = ""
    """From the credential scope, not verified; empty for an unsigned request."""
    gone: Callable[[], bool] = lambda: False
    """Whether the client has gone away, so that there is nobody to wait for."""


Operation = Callable[[RequestContext, Params], Awaitable[Result]]


class RawOperation(Protocol):
    """An operation that reads its request and writes its response itself, past the generic layer.

    `labels` are the decoded labels of the model's path (`{"FunctionName": …}`). It raises `ApiError` as any
    operation does. The body is not read yet.
    """

    async def __call__(
        self, context: RequestContext, request: web.Request, labels: Mapping[str, str], /
    ) -> web.StreamResponse:
        """Answer one request."""


@dataclass(frozen=True, slots=True)
class OperationMark:
    """What the decorators leave on a method."""

    name: str
    raw: bool = False
    unchecked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Served:
    """One entry of the registry: exactly one of `run` and `raw` is set."""

    run: Operation | None = None
    raw: RawOperation | None = None
    unchecked: frozenset[str] = frozenset()
    """Top-level members whose constraints the operation checks itself (types are still the model's)."""


_F = TypeVar("_F", bound=Callable[..., Awaitable[Any]])


def operation(name: str, *, unchecked: tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """Mark a method as the operation `name`; `unchecked` names members whose constraints it checks itself."""
    return _marker(OperationMark(name, unchecked=frozenset(unchecked)))


def raw_operation(name: str) -> Callable[[_F], _F]:
    """Mark a method as a `RawOperation`."""
    return _marker(OperationMark(name, raw=True))


def _marker(mark: OperationMark) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        setattr(function, _MARK, mark)
        return function

    return decorate


class Registry:
    """Operations by service (botocore's name: `lambda`, `logs`, `sts`) and operation name."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Served]] = {}

    def serve(self, service: str, implementation: object) -> None:
        """Register every marked method of an object.

        Raises:
            ValueError: an operation is registered twice, or the object has none.
        """
        found = False
        for _, method in inspect.getmembers(implementation, callable):
            mark = getattr(method, _MARK, None)
            if isinstance(mark, OperationMark):
                found = True
                self.add(service, mark.name, method, raw=mark.raw, unchecked=mark.unchecked)
        if not found:
            raise ValueError(f"{type(implementation).__name__} has no operations")

    def add(
        self, service: str, name: str, function: Any, *, raw: bool = False, unchecked: frozenset[str] = frozenset()
    ) -> None:
        """Register one function (an `Operation`, or a `RawOperation` with `raw`).

        Raises:
            ValueError: the operation is registered already.
        """
        operations = self._services.setdefault(service, {})
        if name in operations:
            raise ValueError(f"{service} {name} is registered twice")
        operations[name] = Served(raw=function) if raw else Served(run=function, unchecked=unchecked)

    def find(self, service: str, name: str) -> Served | None:
        """Return what serves an operation, None where nothing does."""
        return self._services.get(service, {}).get(name)

    def served(self) -> Mapping[str, frozenset[str]]:
        """Names of the served operations by service."""
        return {service: frozenset(operations) for service, operations in self._services.items()}
