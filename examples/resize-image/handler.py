"""Resize a photo on the fly.

Over HTTP (a function URL): `GET /?width=640` answers with a JPEG; `height` instead of, or beside, `width` works too.
Invoked directly with `{"width": 640}` it answers with what it made: size and bytes.
"""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

from PIL import Image

PHOTO = Path(__file__).with_name("photo.jpg")
LARGEST = 4096


class BadSize(ValueError):
    """The size asked for is none that a picture can have."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    http = event.get("requestContext", {}).get("http")
    asked = event.get("queryStringParameters") or {} if http else event
    try:
        width, height = wanted_size(asked.get("width"), asked.get("height"))
    except BadSize as error:
        if http:
            return {"statusCode": 400, "headers": {"content-type": "text/plain"}, "body": f"{error}\n"}
        raise
    started = time.perf_counter()
    picture, size = resized(width, height)
    took_ms = (time.perf_counter() - started) * 1000
    print(f"resized {PHOTO.name} to {size[0]}x{size[1]}, {len(picture)} bytes, in {took_ms:.0f} ms")
    if not http:
        return {"width": size[0], "height": size[1], "bytes": len(picture)}
    return {
        "statusCode": 200,
        "headers": {"content-type": "image/jpeg", "cache-control": "public, max-age=3600"},
        "isBase64Encoded": True,
        "body": base64.b64encode(picture).decode(),
    }


def wanted_size(width: Any, height: Any) -> tuple[int | None, int | None]:
    """Read the size asked for; 800 pixels wide where none is."""
    found: list[int | None] = []
    for name, value in (("width", width), ("height", height)):
        if value is None:
            found.append(None)
            continue
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise BadSize(f"{name} is not a number: {value!r}") from None
        if not 1 <= number <= LARGEST:
            raise BadSize(f"{name} must be 1 to {LARGEST}, not {number}")
        found.append(number)
    if found == [None, None]:
        return 800, None
    return found[0], found[1]


def resized(width: int | None, height: int | None) -> tuple[bytes, tuple[int, int]]:
    """Return the photo as a JPEG that fits into width and height, in its own proportions, and its size."""
    with Image.open(PHOTO) as photo:
        scale = min(
            width / photo.width if width else float("inf"),
            height / photo.height if height else float("inf"),
        )
        size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        # JPEG can be decoded at a half, a quarter or an eighth of its size, which is most of the time saved.
        photo.draft("RGB", size)
        out = io.BytesIO()
        photo.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=85)
    return out.getvalue(), size
