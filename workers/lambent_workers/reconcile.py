"""Finds calls that this worker holds on Redis but has nowhere, and has them taken back.

A call is handed out by a reply of Redis's: of the inbox, or of the script that ended the call before it. A reply that
was lost with its connection leaves a lease behind that nobody works on and, since the worker lives, nobody buries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.invocations import InvocationStore, Lease

_log = structlog.get_logger(__name__)
LOST_MESSAGE: Final = "The invocation was lost before it reached its function; it can be sent again."


class Reconciler:
    """Compares leases with what is in hand; what is unknown at two looks in a row is lost."""

    def __init__(
        self,
        invocations: InvocationStore,
        worker_id: str,
        *,
        in_hand: Callable[[], set[str]],
        freed: Callable[[Collection[str]], None],
    ) -> None:
        """`in_hand` names the calls that the worker has; `freed` hears which environments wait for a lost one."""
        self._invocations = invocations
        self._worker_id = worker_id
        self._in_hand = in_hand
        self._freed = freed

    async def run(self, every_s: float) -> None:
        """Look every so often until cancelled."""
        suspects: frozenset[Lease] = frozenset()
        while True:
            await asyncio.sleep(every_s)
            try:
                suspects = await self._look(suspects)
            except StoreUnavailable:
                suspects = frozenset()

    async def _look(self, suspects: frozenset[Lease]) -> frozenset[Lease]:
        # Before and after: a call may end, or arrive, while the leases are on their way here.
        before = self._in_hand()
        leases = await self._invocations.held(self._worker_id)
        known = before | self._in_hand()
        unknown = frozenset(lease for lease in leases if lease.call_id not in known)
        lost = unknown & suspects
        if lost:
            events, calls = await self._invocations.recover(
                self._worker_id, list(lost), code="ServiceException", message=LOST_MESSAGE
            )
            _log.warning("calls were lost with a connection to the store", events_requeued=events, calls_failed=calls)
            self._freed({lease.environment_id for lease in lost})
        return unknown - lost
