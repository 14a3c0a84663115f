"""The settings about what is kept while it is idle; workers decide by them, and gateways say what is decided."""

from __future__ import annotations

from typing import Final

from lambent_platform.core.keepalive import KeepAlive
from lambent_platform.main.settings import Settings

FUNCTIONS: Final = ("keep_alive", "cold_start_worth_s", "idle_timeout_s")
ALL: Final = (*FUNCTIONS, "freeze_after_s", "stem_idle_timeout_s", "stems")


def keep_alive(settings: Settings) -> KeepAlive:
    """The operator's wishes."""
    return KeepAlive(**{name: getattr(settings, name) for name in ALL})
