"""Structured logs: one JSON object a line for machines, or aligned text for people. No secret is ever a log field.

Libraries say the same thing at every try: while Kafka is away its client writes hundreds of lines a second, in which
the line that matters is lost. Each thing a library says is let through once a minute, with how often it was said since.
"""

import logging
import sys
import time
from collections.abc import Callable

import structlog

LIBRARIES = ("aiokafka", "botocore", "aiobotocore", "urllib3", "faust", "mode", "kafka", "asyncio")
SAID_AGAIN_S = 60.0
_MOST_CAUSES = 500


class OnceAMinute(logging.Filter):
    """For a handler. A cause is a library's logger, its level and its text before values are put in: what differs from
    line to line is which node, partition or port. Our own lines all pass."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in LIBRARIES or not isinstance(record.msg, str):
            return True
        cause = (record.name, record.levelno, record.msg)
        now = self._monotonic()
        said_at, silenced = self._said.get(cause, (None, 0))
        if said_at is not None and now - said_at < SAID_AGAIN_S:
            self._said[cause] = (said_at, silenced + 1)
            return False
        if len(self._said) >= _MOST_CAUSES:
            # A library that makes its texts up as it goes must not fill the memory.
            self._said.clear()
        self._said[cause] = (now, 0)
        if silenced:
            record.msg = f"{record.getMessage()} (said {silenced} more times since it was last shown)"
            record.args = ()
        return True


def configure_logs(service: str, *, log_format: str, level: str) -> None:
    """Send structlog and the standard library's loggers to standard error in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "console":
        renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OnceAMinute())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
