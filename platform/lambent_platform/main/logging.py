"""How the roles log: structlog to standard error, one line an event, for people or for machines."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog

from lambent_platform.main.settings import Settings

_QUIET: Final = ("aiohttp.access", "asyncio", "docker", "rq", "rq.worker", "urllib3")
"""Libraries whose own chatter says nothing that an operator could act on, below a warning."""


def configure(settings: Settings, *, role: str) -> None:
    """Send this process's logs, those of libraries included, to standard error; every line names its role."""
    level = getattr(logging, settings.log_level.upper())
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *((_console(),) if console else (structlog.processors.format_exc_info, _json())),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.contextvars.bind_contextvars(role=role)


def _console() -> Any:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=32)


def _json() -> Any:
    return structlog.processors.JSONRenderer(sort_keys=False)
