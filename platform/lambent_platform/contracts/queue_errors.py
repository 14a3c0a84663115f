"""The errors of the queue service, by the names of SQS's model; the gateway knows their older codes."""

from __future__ import annotations

from lambent_platform.contracts.errors import ApiError


class QueueError(ApiError):
    """Base: a mistake of the caller, said in SQS's words."""

    status, message_key = 400, "message"


class QueueDoesNotExist(QueueError):
    """No such queue."""

    code = "QueueDoesNotExist"

    def __init__(self, message: str = "The specified queue does not exist.") -> None:
        super().__init__(message)


class QueueParameterInvalid(QueueError):
    """A parameter's value is not acceptable: "Value … for parameter … is invalid. Reason: …"."""

    code = "InvalidParameterValue"

    @classmethod
    def of(cls, value: object, parameter: str, reason: str) -> QueueParameterInvalid:
        """Say it as SQS does."""
        return cls(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


class ReceiptHandleInvalid(QueueError):
    """Not a receipt handle of this queue."""

    code = "ReceiptHandleIsInvalid"

    @classmethod
    def of(cls, handle: str) -> ReceiptHandleInvalid:
        """Say it as SQS does."""
        return cls(f'The input receipt handle "{handle[:1024]}" is not a valid receipt handle.')


class MessageNotInflight(QueueError):
    """The message is there but nobody holds it."""

    code = "MessageNotInflight"

    def __init__(self) -> None:
        super().__init__("The message referred to is not in flight.")


class QueueBusy(QueueError):
    """The queue was changed by others again and again while it was to be changed."""

    code, status = "ServiceUnavailable", 503

    def __init__(self) -> None:
        super().__init__("The queue is changed by others at the same time; try again.")


class MissingParameter(QueueError):
    """A parameter is not there."""

    code = "MissingParameter"

    @classmethod
    def of(cls, name: str) -> MissingParameter:
        """Say it as SQS does."""
        return cls(f"The request must contain the parameter {name}.")


class InvalidAttributeName(QueueError):
    """No such attribute."""

    code = "InvalidAttributeName"

    @classmethod
    def of(cls, name: str) -> InvalidAttributeName:
        """Say it as SQS does."""
        return cls(f"Unknown Attribute {name[:256]}.")


class InvalidAttributeValue(QueueError):
    """A queue's attribute cannot have this value."""

    code = "InvalidAttributeValue"

    @classmethod
    def of(cls, name: str, reason: str = "") -> InvalidAttributeValue:
        """Say it as SQS does."""
        return cls(f"Invalid value for the parameter {name}." + (f" Reason: {reason}" if reason else ""))


class InvalidMessageContents(QueueError):
    """A message has characters that it cannot have."""

    code = "InvalidMessageContents"


class OverLimit(QueueError):
    """Too many messages in flight, or too many of something else."""

    code = "OverLimit"


class QueueNameExists(QueueError):
    """There is a queue of this name, and it is another one than asked for."""

    code = "QueueNameExists"


class PurgeQueueInProgress(QueueError):
    """It was purged less than a minute ago."""

    code = "PurgeQueueInProgress"


class EmptyBatchRequest(QueueError):
    """A batch without entries."""

    code = "EmptyBatchRequest"


class TooManyEntriesInBatchRequest(QueueError):
    """A batch of more than ten entries."""

    code = "TooManyEntriesInBatchRequest"


class BatchEntryIdsNotDistinct(QueueError):
    """Two entries of a batch have one id."""

    code = "BatchEntryIdsNotDistinct"


class InvalidBatchEntryId(QueueError):
    """An entry's id is not made of letters, digits, hyphens and underscores, 1 to 80."""

    code = "InvalidBatchEntryId"


class BatchRequestTooLong(QueueError):
    """The messages of a batch are too large together."""

    code = "BatchRequestTooLong"


class MoveTaskNotFound(QueueError):
    """No such task, or queue, to move messages."""

    code = "ResourceNotFoundException"
