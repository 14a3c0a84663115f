"""Where the results of asynchronous calls may go: checked when it is set, since later there is nobody to be told.

Source: Lambda Developer Guide, "Retaining records of asynchronous invocations": dead-letter queues and destinations
are standard queues; texts as Lambda replies, and where its own topics and buses would be meant, what is not served.
"""

from __future__ import annotations

from typing import Final

from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.core.destinations import target_kind
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.queues import QueueStore

_NOT_SERVED: Final = {
    "sns": "topics",
    "events": "event buses",
    "s3": "buckets",
}


async def check_dead_letter(arn: str, queues: QueueStore) -> None:
    """Check the `TargetArn` of a function's DeadLetterConfig ("" is none).

    Raises:
        InvalidParameterValue: it is no standard queue that exists.
    """
    if not arn:
        return
    if _service(arn) == "sns":
        raise invalid(f"The dead letter target {arn} is not served: topics are not, give the ARN of a queue.")
    if target_kind(arn) != "queue":
        raise invalid(f"Unsupported dead letter target {arn}: it must be the ARN of an SQS queue.")
    queue = await queues.find_arn(arn)
    if queue is None:
        raise invalid(f"The dead letter target {arn} is invalid: the queue does not exist.")
    if queue.fifo:
        raise invalid(f"The dead letter target {arn} is invalid: it must be a standard queue, and is a FIFO queue.")


async def check_destination(
    arn: str, source: FunctionRef, described: str, functions: FunctionStore, queues: QueueStore
) -> None:
    """Check one destination of a function's asynchronous calls; `described` is the whole setting as Lambda shows it.

    Raises:
        InvalidParameterValue: it is neither a standard queue nor another function that exists.
    """
    service = _service(arn)
    if service in _NOT_SERVED:
        raise invalid(
            f"The destination {arn} is not served: {_NOT_SERVED[service]} are not, "
            "give the ARN of a queue or a function."
        )
    kind = target_kind(arn)
    if kind == "queue":
        queue = await queues.find_arn(arn)
        if queue is None:
            raise invalid(f"The destination ARN {arn} is invalid.")
        if queue.fifo:
            raise invalid(f"The destination ARN {arn} is invalid: a destination must be a standard queue.")
        return
    destination = FunctionRef.parse(arn) if kind == "function" else None
    if destination is None:
        raise invalid(f"The provided destination config {described} is invalid.")
    if destination.ident == source.ident:
        raise invalid("You can't specify the function as a destination for itself.")
    target = await functions.load(destination.ident)
    qualifier = destination.qualifier or LATEST
    if target is None or (qualifier not in target.versions and qualifier not in target.aliases):
        raise invalid(f"The destination ARN {arn} is invalid.")


def _service(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[2] if len(parts) == 6 and parts[0] == "arn" else ""
