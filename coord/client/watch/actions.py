"""What a watch machine is asked for, and what it asks its shell to do: plain records."""

from __future__ import annotations

from dataclasses import dataclass

from coord.errors import CoordError
from coord.model import WatchBatch

CAPACITY = 16 * 1024 * 1024
"""Bytes that may wait for one reader before its watcher is paused."""

_EVENT_OVERHEAD = 300  # rough size of an Event with its KeyValue beside key and value


@dataclass(frozen=True, slots=True)
class WatchSpec:
    """What one watcher wants.

    Attributes:
        key: key, or start of the range.
        range_end: end of the range, empty for one key.
        from_revision: first revision wanted, 0 for what comes after the server confirmed.
        puts: deliver puts.
        deletes: deliver deletes.
        previous: deliver the key as it was before.
        progress: deliver marks without events too.
        capacity: bytes that may wait for the reader.
    """

    key: bytes
    range_end: bytes = b""
    from_revision: int = 0
    puts: bool = True
    deletes: bool = True
    previous: bool = False
    progress: bool = False
    capacity: int = CAPACITY


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a stream (to any endpoint), then call `on_open`; with a new token if `reauthenticate`."""

    reauthenticate: bool = False


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Cancel the stream; nothing it still says is of interest."""

    dead: bool = False  # its endpoint did not answer: prefer another one


@dataclass(frozen=True, slots=True)
class SendCreate:
    """Send a create request."""

    key: bytes
    range_end: bytes
    start_revision: int
    puts: bool = True
    deletes: bool = True
    previous: bool = False
    progress: bool = False


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Send a cancel request."""

    watch_id: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give a batch to the reader."""

    token: int
    batch: WatchBatch


@dataclass(frozen=True, slots=True)
class Ready:
    """Tell the reader that everything after `revision` will be delivered (once for each watcher)."""

    token: int
    revision: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell the reader why the watcher ended; it is forgotten here."""

    token: int
    error: CoordError


@dataclass(frozen=True, slots=True)
class Verify:
    """Read `key` linearizably, then call `on_verified`: a member answered with less than was seen before."""

    key: bytes


Action = OpenStream | CloseStream | SendCreate | SendCancel | Deliver | Ready | Fail | Verify


def weight(batch: WatchBatch) -> int:
    """Bytes that a waiting batch costs, roughly."""
    total = _EVENT_OVERHEAD
    for event in batch.events:
        total += _EVENT_OVERHEAD + len(event.item.key) + len(event.item.value)
        if event.previous is not None:
            total += len(event.previous.value)
    return total
