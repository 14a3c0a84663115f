"""The connection loop: connections to WebSocket APIs whose gateway is gone, told to their functions and forgotten."""

from __future__ import annotations

import time
import uuid
from typing import Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.connections import ConnectionRecord
from lambent_platform.contracts.errors import ApiError, TooManyRequests
from lambent_platform.core.apis.routing import compile_site
from lambent_platform.core.apis.socket_event import ABNORMAL, DISCONNECT, disconnect_event
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.store.apis import ApiStore
from lambent_platform.store.connections import ConnectionStore

PAUSE_S: Final = 1.0
BATCH: Final = 200
GRACE_S: Final = 5.0
"""How long a gateway must be missed: after Redis was away the living say so again within their next beat."""
GIVE_UP_MS: Final = 86_400_000
"""How long after its beginning a connection's end may be told: it may have waited for its function meanwhile."""
_NAMESPACE: Final = uuid.UUID("0b1d9f0e-1f0c-4a59-9d7e-5a6f2e0c9a34")

log = structlog.get_logger("scheduler")


class ConnectionLoop:
    """Ends what dead gateways held. A connection is forgotten after its end was accepted, and then told once."""

    def __init__(self, connections: ConnectionStore, apis: ApiStore, deliverer: Deliverer, clock: EventClock) -> None:
        self._connections = connections
        self._apis = apis
        self._deliverer = deliverer
        self._clock = clock
        self._missed: dict[str, float] = {}

    async def step(self) -> None:
        """One round over connections without a gateway."""
        found = await self._connections.orphans(limit=BATCH)
        now_s = time.monotonic()
        self._missed = {gateway: self._missed.get(gateway, now_s) for gateway, _, _ in found}
        for gateway, connection_id, record in found:
            if now_s - self._missed[gateway] < GRACE_S:
                continue
            if record is None or await self._told(record):
                await self._connections.close(connection_id, gateway)

    async def _told(self, record: ConnectionRecord) -> bool:
        """Whether a connection's end was told, or cannot be."""
        now_ms = self._clock.now_ms()
        found = await self._apis.load(record.api_id)
        stage = compile_site(found).stages.get(record.stage) if found is not None else None
        route = stage.by_key.get(DISCONNECT) if stage is not None else None
        if stage is None or route is None or route.function is None:
            return True
        event = disconnect_event(
            record,
            stage.variables,
            ABNORMAL,
            "",
            request_id=str(uuid.uuid5(_NAMESPACE, record.id)),
            now_ms=now_ms,
        )
        ref = route.function
        arn = ref.named_arn
        try:
            await self._deliverer.deliver(arn, orjson.dumps(event), delivery_id=f"disconnect:{record.id}")
        except TooManyRequests:
            return now_ms - record.connected_ms > GIVE_UP_MS
        except ApiError as error:
            log.info("disconnect not told", api=record.api_id, connection=record.id, reason=error.message)
        return True
