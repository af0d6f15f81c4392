"""Log lines in zap's shape (level, ts, caller, msg), because what watches etcd reads them.

Server code logs through `logger`, which hands structured events to the standard library's logger ``coord.server`` and
configures nothing: a program that embeds a server decides itself what becomes of its lines (nothing, by default). A
server of its own calls `configure` once.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO

import structlog

ROOT = "coord.server"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_CALLSITE = structlog.processors.CallsiteParameterAdder(
    {structlog.processors.CallsiteParameter.PATHNAME, structlog.processors.CallsiteParameter.LINENO}
)
_NAMES = {"warning": "warn", "critical": "fatal"}

logging.getLogger(ROOT).addHandler(logging.NullHandler())


def logger(name: str = ROOT) -> Any:
    """A structured logger: ``logger(__name__).info("ready to serve client requests", address=…)``.

    It does not depend on structlog's global configuration, which belongs to the program.
    """
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            _CALLSITE,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def configure(level: str, style: str, outputs: Sequence[str]) -> list[logging.Handler]:
    """Send the server's lines to `outputs` in `style` ("json" or "console"); returns the handlers, to be closed.

    Raises:
        OSError: an output file cannot be opened.
    """
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[_shape, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(style)],
    )
    handlers: list[logging.Handler] = []
    for output in dict.fromkeys(outputs or ("default",)):
        handler: logging.Handler
        if output in ("default", "stderr", "stdout"):
            stream: TextIO = sys.stdout if output == "stdout" else sys.stderr
            handler = logging.StreamHandler(stream)
        elif output == "/dev/null":
            handler = logging.NullHandler()
        else:
            handler = logging.FileHandler(output, encoding="utf-8")
        handler.setFormatter(formatter)
        handlers.append(handler)
    root = logging.getLogger("coord")
    root.setLevel(_LEVELS[level])
    root.propagate = False
    for handler in handlers:
        root.addHandler(handler)
    return handlers


def release(handlers: Sequence[logging.Handler]) -> None:
    """Take back what `configure` did."""
    root = logging.getLogger("coord")
    for handler in handlers:
        root.removeHandler(handler)
        handler.close()
    root.propagate = True
    root.setLevel(logging.NOTSET)


def _shape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The event with zap's field names first."""
    record: logging.LogRecord = event["_record"]
    level = record.levelname.lower()
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    shaped: dict[str, Any] = {
        "level": _NAMES.get(level, level),
        "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "caller": _caller(event.pop("pathname", record.pathname), event.pop("lineno", record.lineno)),
        "msg": event.pop("event", ""),
    }
    trace = event.pop("exception", "")
    event.pop("exc_info", None)
    shaped.update(event)
    if record.exc_info and record.exc_info[1] is not None:
        trace = logging.Formatter().formatException(record.exc_info)
    if trace:
        shaped["stacktrace"] = trace
    return shaped


def _caller(path: str, line: int) -> str:
    folder, file = os.path.split(path)
    return f"{os.path.basename(folder)}/{file}:{line}"


def _renderers(style: str) -> list[Any]:
    if style == "json":
        return [structlog.processors.JSONRenderer(default=str)]
    return [_console]


def _console(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One tab-separated line, as zap's console encoder writes it; a trace follows on lines of its own."""
    trace = event.pop("stacktrace", "")
    fixed = [str(event.pop(name)) for name in ("ts", "level", "caller", "msg")]
    if event:
        rendered = structlog.processors.JSONRenderer(default=str)(None, "", event)
        fixed.append(rendered if isinstance(rendered, str) else rendered.decode())
    return "\t".join(fixed) + (f"\n{trace}" if trace else "")
