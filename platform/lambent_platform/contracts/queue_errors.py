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
