"""What is looked up before a source may be mapped to a function; one check for each kind of `core/mapping_sources.py`.

Source: what Lambda replies; Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping".
"""

from __future__ import annotations

from typing import Protocol

from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.mappings import MappingRecord


class SourceCheck(Protocol):
    """Says whether a source exists and goes together with the function."""

    async def __call__(self, record: MappingRecord, version: FunctionVersion, /) -> None:
        """Raise InvalidParameterValue where it does not."""
