"""The services that are spoken, and their models, loaded when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from lambent_platform.gateway.aws.query_compatible import SQS, QueryNames
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.aws.routing import Router
from lambent_platform.gateway.aws.validation import Validator

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import OperationModel, ServiceModel

Protocol = Literal["rest-json", "json", "query"]


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """What must be known of a service before its model is loaded. `name` is botocore's, also in credential scopes."""

    name: str
    api_version: str
    target_prefix: str = ""
    """In front of the dot in `X-Amz-Target`."""
    dated_paths: bool = False
    """Its paths begin with a date, as those of Lambda do, and so name the service."""
    paths: tuple[str, ...] = ()
    """What its paths begin with, where they have no date."""
    query: QueryNames | None = None
    """How it is called in the query protocol, where it speaks that besides the one of its model."""
    validation_code: str = ""
    """The error code under which it reports what breaks its model, where that is not `ValidationException`."""


SERVICES: Final = (
    ServiceEntry("lambda", "2015-03-31", dated_paths=True),
    ServiceEntry("logs", "2014-03-28", target_prefix="Logs_20140328"),
    ServiceEntry("sts", "2011-06-15"),
    ServiceEntry("sqs", "2012-11-05", target_prefix="AmazonSQS", query=SQS),
    ServiceEntry(
        "apigatewayv2",
        "2018-11-29",
        paths=("/v2/apis", "/v2/tags/", "/v2/domainnames", "/v2/vpclinks", "/v2/portals", "/v2/portalproducts"),
        validation_code="BadRequestException",
    ),
    ServiceEntry("scheduler", "2021-06-30", paths=("/schedules", "/schedule-groups", "/tags/arn")),
    ServiceEntry("events", "2015-10-07", target_prefix="AWSEvents"),
    ServiceEntry("apigatewaymanagementapi", "2018-11-29", paths=("/@connections/",)),
)


class Service:
    """One service's model and everything that is made of it once."""

    def __init__(
        self, model: ServiceModel, validation_code: str = "", *, query: tuple[QueryNames, ServiceModel] | None = None
    ) -> None:
        self.model = model
        self.validation_code = validation_code
        self.query_names = query[0] if query is not None else None
        """Set where the service speaks the query protocol besides its own."""
        self._query_model = query[1] if query is not None else model
        self.name: str = model.service_name
        self.protocol = cast(Protocol, model.metadata["protocol"])
        self.validator = Validator()

    @cached_property
    def router(self) -> Router:
        """Find an operation by method and path (rest-json only)."""
        http = {name: self.model.operation_model(name).http for name in self.operation_names}
        return Router((name, spec["method"], spec["requestUri"]) for name, spec in http.items())

    @cached_property
    def operation_names(self) -> frozenset[str]:
        """Every operation of the model."""
        return frozenset(self.model.operation_names)

    @cached_property
    def error_members(self) -> Mapping[str, frozenset[str]]:
        """Members of each error shape of the model as they are written, by error code."""
        return {
            shape.error_code: frozenset(m.serialization.get("name", name) for name, m in shape.members.items())
            for shape in self.model.error_shapes
        }

    def operation(self, name: str, protocol: Protocol | None = None) -> OperationModel:
        """Return one operation of the model, which must know it, as a protocol names its members."""
        return self.model_of(protocol or self.protocol).operation_model(name)

    def model_of(self, protocol: Protocol) -> ServiceModel:
        """Return the model as a protocol names what is in it."""
        return self._query_model if protocol == "query" else self.model


class ServiceCatalog:
    """Every service, each loaded on first use (about 40 ms) and kept."""

    def __init__(self, entries: Sequence[ServiceEntry] = SERVICES) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.by_target = {entry.target_prefix: entry.name for entry in entries if entry.target_prefix}
        self.by_api_version = {entry.api_version: entry.name for entry in entries}
        self._loaded: dict[str, Service] = {}

    def get(self, name: str) -> Service:
        """Return a service of the catalog.

        Raises:
            KeyError: there is no such service here.
        """
        service = self._loaded.get(name)
        if service is None:
            service = self._loaded[name] = _load(self.entries[name])
        return service


def coverage(catalog: ServiceCatalog, registry: Registry) -> dict[str, tuple[list[str], list[str]]]:
    """Return (served, not served) operation names by service, sorted, for every service that serves anything.

    Raises:
        ValueError: an operation is registered that its model does not know.
    """
    table = {}
    for name, served in registry.served().items():
        known = catalog.get(name).operation_names
        if not served <= known:
            raise ValueError(f"{name} has no {', '.join(sorted(served - known))}")
        table[name] = (sorted(served), sorted(known - served))
    return table


def _load(entry: ServiceEntry) -> Service:
    # Only botocore's own data: a model in the user's home folder must not change what is served.
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    description = loader.load_service_model(entry.name, "service-2", entry.api_version)
    _drop_documentation(description)
    query = None
    if entry.query is not None:
        query = (entry.query, ServiceModel(entry.query.described(description), entry.name))
    return Service(ServiceModel(description, entry.name), entry.validation_code, query=query)


def _drop_documentation(node: Any) -> None:
    """Drop AWS's prose from a model: most of its size in memory, never read here."""
    if isinstance(node, dict):
        if isinstance(node.get("documentation"), str):
            del node["documentation"]
        for child in node.values():
            _drop_documentation(child)
    elif isinstance(node, list):
        for child in node:
            _drop_documentation(child)
