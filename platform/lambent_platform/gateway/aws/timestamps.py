"""Timestamps as the protocols write them: seconds since the epoch, ISO 8601, or HTTP dates."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal, cast

from lambent_platform.gateway.aws.problems import serialization_error

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import Shape

Format = Literal["unixTimestamp", "iso8601", "rfc822"]
_NUMBER: Final = re.compile(r"-?\d{1,12}(\.\d{1,9})?")


def format_of(shape: Shape, default: Format) -> Format:
    """Return the format of a timestamp: its own, else its location's, else the protocol's `default`."""
    own = shape.serialization.get("timestampFormat") or shape.metadata.get("timestampFormat")
    if own:
        return cast(Format, own)
    location = shape.serialization.get("location")
    if location == "header":
        return "rfc822"
    return "iso8601" if location in {"querystring", "uri"} else default


def parse_timestamp(value: str | int | float) -> datetime:
    """Read any of the three formats, as AWS's services do whatever the model names.

    Raises:
        ApiError: SerializationException.
    """
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if _NUMBER.fullmatch(value):
            return datetime.fromtimestamp(float(value), UTC)
        parsed = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
    except (ValueError, OverflowError, OSError):
        raise serialization_error(f"Unable to parse {str(value)[:64]!r} as a timestamp") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def format_timestamp(value: datetime | int | float | str, style: Format) -> str | int | float:
    """Write a timestamp; a string is taken to be written already, a number to be seconds since the epoch."""
    if isinstance(value, str):
        return value
    if style == "unixTimestamp":
        seconds = value.timestamp() if isinstance(value, datetime) else value
        return int(seconds) if seconds == int(seconds) else round(seconds, 3)
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    moment = moment.astimezone(UTC)
    if style == "rfc822":
        return format_datetime(moment, usegmt=True)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
