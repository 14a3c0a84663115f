"""A function's code as a template names it: a folder, a zip, text in the template, or a folder that is run in place."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lambent.errors import PackageError, SpecError
from lambent.package import Package, pack
from lambent_platform.contracts.limits import ZIP_BYTES

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_INLINE_NAMES: Final = {"python": "index.py", "nodejs": "index.js"}
"""The file that inline code becomes (AWS CloudFormation Template Reference, `AWS::Lambda::Function Code`, ZipFile)."""
HOT_RELOAD: Final = "hot-reload"


def read_code(code: Any, runtime: str, folder: Path, template: Path | None) -> Package | Mapping[str, str]:
    """Return what is uploaded, or S3Bucket and S3Key of a folder that is run in place.

    Paths are relative to the template's folder; the template itself and its samconfig.toml are no code.

    Raises:
        SpecError: it is somewhere that cannot be read from here. PackageError: it cannot be packed.
    """
    if isinstance(code, Mapping):
        if "ZipFile" in code:
            return _inline(str(code["ZipFile"]), runtime)
        if code.get("S3Bucket") == HOT_RELOAD:
            return {"S3Bucket": HOT_RELOAD, "S3Key": str(code.get("S3Key", ""))}
        raise SpecError("code in buckets is not served here: name a folder or a zip (or the bucket hot-reload)")
    text = str(code)
    if "://" in text:
        raise SpecError(f"{text} is not served here: name a folder or a zip")
    path = folder / text
    if path.is_file():
        return _zip(path)
    own = () if template is None else (template.resolve(), template.resolve().with_name("samconfig.toml"))
    return pack(path, leave_out=own)


def _zip(file: Path) -> Package:
    size = file.stat().st_size
    if size > ZIP_BYTES:
        raise PackageError(f"{file} is {size:,} bytes, over the limit of {ZIP_BYTES:,}")
    content = file.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise PackageError(f"{file} is no zip: {error}") from error
    return Package(content, len(entries), sum(entry.file_size for entry in entries))


def _inline(text: str, runtime: str) -> Package:
    name = next((name for kind, name in _INLINE_NAMES.items() if runtime.startswith(kind)), None)
    if name is None:
        raise SpecError(f"InlineCode is for Python and Node.js, not for {runtime or 'a function without Runtime'}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system = 3
        entry.external_attr = 0o100644 << 16
        archive.writestr(entry, text)
    return Package(buffer.getvalue(), 1, len(text.encode()))


def hot_reload_sha256(key: str) -> str:
    """Return what stands for the digest of a folder that is run in place: it changes with the folder's path alone."""
    return base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()
