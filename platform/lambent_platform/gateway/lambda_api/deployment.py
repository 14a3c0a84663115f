"""Code as a request gives it: judged, stored, and described."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.contracts.function import CodePackage
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.configuration import invalid
from lambent_platform.core.functions import hot_reload
from lambent_platform.core.packages import EMPTY
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.packages import accept

HOT_RELOAD_BUCKET: Final = "hot-reload"


async def package(code: Mapping[str, Any], runtime: str, objects: ObjectStore, *, store: bool = True) -> CodePackage:
    """Judge the code of a request and store it; with `store=False` only judge it.

    Raises:
        InvalidParameterValue: there is none, it is of a kind that is not served, or the package is bad.
    """
    if code.get("ImageUri"):
        raise invalid("Container images are not served yet: give the code as a zip package.")
    if "ZipFile" in code and ("S3Bucket" in code or "S3Key" in code):
        raise invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
    if "ZipFile" in code:
        return await _zipped(code["ZipFile"], runtime, objects, store=store)
    if "S3Bucket" in code or "S3Key" in code:
        return _folder(code.get("S3Bucket", ""), code.get("S3Key", ""))
    raise invalid("Please provide a source for function code.")


async def _zipped(data: bytes, runtime: str, objects: ObjectStore, *, store: bool) -> CodePackage:
    if not data:
        raise invalid(EMPTY)
    accepted = await asyncio.to_thread(accept, data, RUNTIMES[runtime].language)
    if store:
        # Also where there is one already: it may be one that is about to be removed as unused, which this stops.
        await objects.put(accepted.code.source_key, data)
    return accepted.code


def _folder(bucket: str, key: str) -> CodePackage:
    if bucket != HOT_RELOAD_BUCKET:
        raise invalid(
            "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does "
            f"not exist (only '{HOT_RELOAD_BUCKET}' does, whose keys are folders of the machine)"
        )
    path = PurePosixPath(key)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
        raise invalid(f"The key of a {HOT_RELOAD_BUCKET} package is the absolute path of a folder: {key!r}")
    return hot_reload(str(path))


async def for_runtime(code: CodePackage, old: str, new: str, objects: ObjectStore) -> CodePackage:
    """Describe the code that is deployed for another runtime, whose language may find dependencies to install.

    Raises:
        InvalidParameterValue: the package is gone, so that it must be uploaded again.
    """
    if code.hot_reload_path or RUNTIMES[old].language == RUNTIMES[new].language:
        return code
    data = await objects.get(code.source_key)
    if data is None:
        raise InvalidParameterValue("The package is gone: upload it again.", Type="User")
    return (await asyncio.to_thread(accept, data, RUNTIMES[new].language)).code
