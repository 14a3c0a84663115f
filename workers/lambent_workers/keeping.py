"""How long this worker keeps each function: what it sees of their calls, and what their history says.

Seeing costs a dictionary's look-up a call. What was seen is written, and histories are read, once a second at the most
and in batches; a function that is called all the time, or not at all, costs neither.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.core.idle_history import PAUSE_S, Window
from lambent_platform.core.keepalive import KeepAlive, kept_s, window_of
from lambent_platform.store.habits import HabitStore, Note
from lambent_workers.environment import Environment

INTERVAL_S: Final = 1.0
ASK_AFTER_S: Final = 2.0
"""From a function's last call until its history is asked for."""
ANSWER_S: Final = 5.0
"""For so long beyond the fixed time an environment waits for its function's history, if that is not there yet."""
FRESH_S: Final = 60.0
"""For so long a window holds, even if there were calls since."""
NOTES_MAX: Final = 20_000
"""Kept while the store is away; more are not written down."""
NOTES_BATCH: Final = 500
WINDOWS_BATCH: Final = 50
"""Windows chosen in one go: each takes a fraction of a millisecond."""


@dataclass(slots=True)
class _Function:
    """One function that has environments here."""

    running: int = 0
    ended_ms: int = 0
    """When its last running call ended (liveness time); 0: not known here."""
    told: bool = True
    """Whether that is written down."""
    window: Window | None = None
    window_at_ms: int = 0


class Keeping:
    """Sees calls, and says until when idle environments are kept."""

    def __init__(
        self, habits: HabitStore, policy: KeepAlive, *, now_ms: Callable[[], int],
        environments: Callable[[], Collection[Environment]],
    ) -> None:  # fmt: skip
        """`now_ms` is liveness time; `environments` are all that the worker has."""
        self._habits = habits
        self._policy = policy
        self._now_ms = now_ms
        self._environments = environments
        self._functions: dict[str, _Function] = {}
        self._notes: list[Note] = []
        self._asked: set[str] = set()

    # -- what is seen --------------------------------------------------------------------------------------------

    def began(self, ident: str) -> None:
        """A call of this function runs from now on."""
        one = self._functions.get(ident)
        if one is None:
            one = self._functions[ident] = _Function()
        if one.running == 0 and one.ended_ms:
            now_ms = self._now_ms()
            if now_ms - one.ended_ms >= PAUSE_S * 1000:
                self._note(Note(ident, "warm", now_ms, one.ended_ms))
        one.running += 1

    def ended(self, ident: str) -> None:
        """A call of this function has ended."""
        one = self._functions.get(ident)
        if one is not None:
            one.running = max(0, one.running - 1)
            if one.running == 0:
                one.ended_ms, one.told = self._now_ms(), False

    def ordered(self, ident: str, *, last_call_ms: int) -> None:
        """An environment was ordered: for what waits, which is no return then, or ahead of the next call."""
        one = self._functions.setdefault(ident, _Function())
        if one.running == 0:
            one.ended_ms = last_call_ms

    def loaded(self, ident: str, init_s: float) -> None:
        """An init took so long."""
        self._note(Note(ident, "init", max(1, round(init_s * 1000))))

    def _note(self, note: Note) -> None:
        if len(self._notes) < NOTES_MAX:
            self._notes.append(note)

    # -- what is decided -----------------------------------------------------------------------------------------

    def until_s(self, environment: Environment, idle_s: float, *, further: bool) -> float:
        """Return the idle time at which an environment goes; `further`: another one here was called later."""
        window = self._window(environment, idle_s)
        return kept_s(self._policy, window, expected=environment.expecting, further=further)

    def _window(self, environment: Environment, idle_s: float) -> Window:
        one = self._functions.get(environment.ident)
        decided = self._policy.keep_alive == "history" and not environment.version.code.hot_reload_path
        if one is None or not decided:
            return Window(0.0, self._policy.idle_timeout_s)
        if idle_s >= ASK_AFTER_S:
            old = one.window_at_ms < one.ended_ms and self._now_ms() - one.window_at_ms >= FRESH_S * 1000
            if one.window is None or old:
                self._asked.add(environment.ident)
        return one.window or Window(0.0, self._policy.idle_timeout_s + ANSWER_S)

    async def expect(self, environment: Environment, idle_s: float) -> None:
        """Have an environment brought up again later, in place of this one that goes, where its window says so."""
        begins_s = self._window(environment, 0.0).from_s
        if begins_s > idle_s:
            due_ms = self._now_ms() + round((begins_s - idle_s) * 1000)
            await self._habits.expect(environment.target, due_ms)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write and read once a second, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            with contextlib.suppress(StoreUnavailable):  # what could not be written is written later
                await self.flush()

    async def flush(self) -> None:
        """Write what was seen, and read the histories that were asked for.

        Raises:
            StoreUnavailable: Redis is away; nothing is lost but what a script has counted already.
        """
        self._tidy()
        while self._notes:
            batch = self._notes[:NOTES_BATCH]
            await self._habits.note(batch)
            del self._notes[: len(batch)]
        asked = sorted(self._asked)[:WINDOWS_BATCH]
        for ident, habits in zip(asked, await self._habits.load(asked), strict=True):
            self._asked.discard(ident)
            one = self._functions.get(ident)
            if one is not None:
                one.window, one.window_at_ms = window_of(self._policy, habits), self._now_ms()
            await asyncio.sleep(0)  # calls go first

    def _tidy(self) -> None:
        """Note the ends that were not followed by a call, and forget functions that have nothing here any more."""
        running = Counter(one.ident for one in self._environments() if one.work is not None)
        here = {one.ident for one in self._environments()}
        pause_ms = self._now_ms() - PAUSE_S * 1000
        for ident, one in list(self._functions.items()):
            one.running = running[ident]  # an environment that vanished in mid-call has told nobody
            gone = ident not in here
            if not one.told and (gone or (one.running == 0 and one.ended_ms <= pause_ms)):
                one.told = True
                self._note(Note(ident, "end", one.ended_ms))
            if gone:
                del self._functions[ident]
                self._asked.discard(ident)
