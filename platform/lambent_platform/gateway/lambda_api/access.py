"""What every operation on functions needs: to know which one is meant, to read it, and to change it safely."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import PreconditionFailed, ResourceConflict, ResourceNotFound
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid, out_of_range
from lambent_platform.core.resolution import not_found
from lambent_platform.gateway.aws.registry import RequestContext
from lambent_platform.gateway.lambda_api.mapping_sources import SourceCheck
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.queues import QueueStore

PAGE_ITEMS: Final = 50
NAME_CHARACTERS_MAX: Final = 64
WRITE_TRIES: Final = 20
_STALE_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. Call the {} API to retrieve the latest Revision Id"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaServices:
    """What the operations work with."""

    functions: FunctionStore
    objects: ObjectStore
    mappings: MappingStore
    queues: QueueStore
    clock: EventClock
    mapping_checks: Mapping[str, SourceCheck] = field(default_factory=dict)
    """By the kind of a mapping's source."""


def new_revision() -> str:
    """Make a short id for a deployed state."""
    return uuid.uuid4().hex[:12]


def new_revision_id() -> str:
    """Make a RevisionId as Lambda shows it."""
    return str(uuid.uuid4())


def named(context: RequestContext, params: Mapping[str, Any]) -> FunctionRef:
    """Read which function `FunctionName` and `Qualifier` mean; the qualifier is None where none was given.

    Raises:
        ValidationFailed: the name is not one of the forms that Lambda takes.
        InvalidParameterValue: the name has one qualifier and the parameter another.
    """
    text = params["FunctionName"]
    ref = FunctionRef.parse(text, account=context.account, region=context.region)
    if ref is None:
        if len(text.rpartition(":")[2]) > NAME_CHARACTERS_MAX:
            raise out_of_range(text, "functionName", f"have length less than or equal to {NAME_CHARACTERS_MAX}")
        raise out_of_range(text, "functionName", "be a function's name or ARN")
    qualifier = params.get("Qualifier")
    if ref.qualifier and qualifier and ref.qualifier != qualifier:
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    return ref.at(ref.qualifier or qualifier)


def unqualified(context: RequestContext, params: Mapping[str, Any]) -> FunctionRef:
    """Read which function `FunctionName` means, whatever qualifier it carries."""
    return named(context, params).at(None)


def deployed(record: FunctionRecord, ref: FunctionRef) -> FunctionVersion:
    """Return the version that a qualifier means: itself, or the one that an alias points to.

    Raises:
        ResourceNotFound: there is none.
    """
    qualifier = ref.qualifier or LATEST
    alias = record.aliases.get(qualifier)
    found = record.versions.get(alias.version if alias else qualifier)
    if found is None:
        raise not_found(ref)
    return found


def check_qualifier(record: FunctionRecord, ref: FunctionRef) -> None:
    """Refuse a qualifier that is neither a version nor an alias, as the operations on settings do.

    Raises:
        ResourceNotFound: there is no such version or alias.
    """
    qualifier = ref.qualifier
    if qualifier is None or qualifier in record.versions or qualifier in record.aliases:
        return
    if qualifier.isdigit() or "$" in qualifier:
        raise not_found(ref)
    raise no_alias(ref)


def no_alias(ref: FunctionRef) -> ResourceNotFound:
    """Make the error for an alias that does not exist."""
    return ResourceNotFound(f"Cannot find alias arn: {ref.qualified_arn}", Type="User")


def check_revision(given: str | None, current: str, api: str = "GetFunction/GetAlias") -> None:
    """Refuse a change that was meant for another state than the current one.

    Raises:
        PreconditionFailed: a RevisionId was given that is not the current one.
    """
    if given is not None and given != current:
        raise PreconditionFailed(_STALE_REVISION.format(api), Type="User")


async def read(functions: FunctionStore, ref: FunctionRef) -> FunctionRecord:
    """Read a function.

    Raises:
        ResourceNotFound: there is none.
    """
    record = await functions.load(ref.ident)
    if record is None:
        raise not_found(ref)
    return record


async def change(
    functions: FunctionStore, ref: FunctionRef, decide: Callable[[FunctionRecord], tuple[FunctionRecord, T]]
) -> T:
    """Change a function: `decide` gets the record and returns the new one and a result; it may be asked again.

    Raises:
        ResourceNotFound: there is no such function.
        ResourceConflict: others change it faster than this does.
    """
    for _ in range(WRITE_TRIES):
        before = await read(functions, ref)
        after, result = decide(before)
        if after is before or await functions.write(ref.ident, before, after):
            return result
    raise contended(ref)


def contended(ref: FunctionRef) -> ResourceConflict:
    """Make the error for a function that others change faster than it can be written."""
    return ResourceConflict(f"The function is being changed by others: {ref.arn}", Type="User")


def page(
    items: Sequence[T], name: Callable[[T], str], params: Mapping[str, Any], *, default: int = PAGE_ITEMS
) -> tuple[Sequence[T], str | None]:
    """Cut one page out of a list that is sorted by `name`, by `Marker` and `MaxItems`; returns it and the next marker.

    A marker goes on to be good when what it names is deleted.
    """
    after = read_marker(params)
    start = next((at for at, item in enumerate(items) if name(item) > after), len(items)) if after else 0
    some = items[start : start + params.get("MaxItems", default)]
    more = bool(some) and start + len(some) < len(items)
    return some, marker(name(some[-1])) if more else None


def marker(name: str) -> str:
    """Make an opaque marker of the last name on a page."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def read_marker(params: Mapping[str, Any]) -> str:
    """Return the name that `Marker` stands for, "" without one.

    Raises:
        InvalidParameterValue: it is not a marker of ours.
    """
    try:
        return base64.b64decode(params.get("Marker", ""), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("The marker is invalid.") from None
