"""How results are printed: lines for people, or etcdctl's JSON shape with ``-w json``."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from coord.errors import CallTimeout, CoordError
from coord.model import Event, EventKind, Header, KeyValue, WatchBatch


def line(text: str) -> None:
    """One line on standard output, at once: what reads us may be a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def problem(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def told(error: BaseException) -> str:
    """An error with what caused it: "it was not won in time: connection refused"."""
    text = str(error)
    cause = error.__cause__
    while isinstance(cause, CoordError):
        if str(cause) not in text and not isinstance(cause, CallTimeout):  # "… in time: … in time" says nothing
            text += f": {cause}"
        cause = cause.__cause__
    return text


def raw(data: bytes) -> None:
    """Bytes as they are, and a newline."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table for people; never folded or cut, so that it can be searched by line."""
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column, no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console = Console(highlight=False)
    needed = console.measure(grid, options=console.options.update(max_width=10_000)).maximum
    console.width = max(console.width, needed)
    with console.capture() as shown:
        console.print(grid, soft_wrap=True)
    for text in shown.get().splitlines():
        line(text.rstrip())  # the last column is filled up too


def as_json(document: dict[str, Any]) -> None:
    """A document on one line, as etcdctl prints it."""
    line(json.dumps(document, separators=(",", ":")))


def b64(data: bytes) -> str:
    """Base64 text, etcdctl's form of bytes in JSON."""
    return base64.b64encode(data).decode("ascii")


def header(found: Header) -> dict[str, int]:
    """The etcdctl form of a response header."""
    return {
        "cluster_id": found.cluster_id,
        "member_id": found.member_id,
        "revision": found.revision,
        "raft_term": found.term,
    }


def key_value(found: KeyValue) -> dict[str, Any]:
    """The etcdctl form of a key; empty fields are left out as Go's encoder does."""
    document: dict[str, Any] = {"key": b64(found.key)}
    for name in ("create_revision", "mod_revision", "version"):
        if getattr(found, name):
            document[name] = getattr(found, name)
    if found.value:
        document["value"] = b64(found.value)
    if found.lease:
        document["lease"] = found.lease
    return document


def event(found: Event) -> dict[str, Any]:
    """The etcdctl form of a watch event."""
    document: dict[str, Any] = {}
    if found.kind is EventKind.DELETE:
        document["type"] = 1
    document["kv"] = key_value(found.item)
    if found.previous is not None:
        document["prev_kv"] = key_value(found.previous)
    return document


def watch_batch(found: WatchBatch) -> dict[str, Any]:
    """The etcdctl form of a watch response, with our mark for a state read again after a compaction."""
    document: dict[str, Any] = {
        "Header": {"revision": found.revision},
        "Events": [event(each) for each in found.events],
        "CompactRevision": 0,
        "Canceled": False,
        "Created": False,
    }
    if found.resync:
        document["Resync"] = [key_value(item) for item in found.items]
    return document


def pair(found: KeyValue) -> None:
    """Key and value on two lines, byte for byte."""
    raw(found.key)
    raw(found.value)
