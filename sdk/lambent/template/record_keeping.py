"""Records of stacks on the platform: read, written as long as nobody else wrote, listed."""

from __future__ import annotations

import json
from typing import Final

from lambent.errors import DeployFailed, PreconditionFailed, ResourceNotFound
from lambent.services import segment
from lambent.template.record import StackRecord
from lambent.transport import Response, Transport

_PATH: Final = "/_lambent/stacks"


class RecordKeeper:
    """Keeps the records of one endpoint and region."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def names(self) -> list[str]:
        """Return the names of all stacks."""
        return list((await self._transport.request("GET", _PATH)).json()["Stacks"])

    async def load(self, name: str) -> StackRecord | None:
        """Return a stack's record, None where there is none."""
        try:
            answer = await self._transport.request("GET", self._path(name))
        except ResourceNotFound:
            return None
        return StackRecord.from_api(name, answer.json(), _revision(answer))

    async def save(self, record: StackRecord) -> None:
        """Write a record, which then has its new revision.

        Raises:
            DeployFailed: somebody else wrote it since it was read.
        """
        body = json.dumps(record.to_api(), separators=(",", ":")).encode()
        record.revision = _revision(await self._change("PUT", record, body))

    async def remove(self, record: StackRecord) -> None:
        """Remove a record; the errors are those of `save`."""
        await self._change("DELETE", record, b"")

    async def _change(self, method: str, record: StackRecord, body: bytes) -> Response:
        headers = {"If-Match": f'"{record.revision}"', "Content-Type": "application/json"}
        try:
            return await self._transport.request(method, self._path(record.name), headers=headers, body=body)
        except PreconditionFailed as error:
            raise DeployFailed(
                f"somebody else is deploying the stack {record.name}: nothing of theirs was touched, run it again"
            ) from error

    def _path(self, name: str) -> str:
        return f"{_PATH}/{segment(name)}"


def _revision(answer: Response) -> int:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return int(headers.get("etag", '"0"').strip('"'))
