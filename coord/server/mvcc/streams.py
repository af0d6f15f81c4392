"""One watch stream: its watchers, and the bounded queue of responses that waits for a reader.

A state machine without I/O. Requests go in by method calls; responses come out of `pop` encoded and in order; `wake`
says that there is something to pop. A reader that is slow costs its own watchers some latency and nobody else anything:
what its queue cannot take is delivered later from the store.

Source: etcd server/etcdserver/api/v3rpc/watch.go, server/storage/mvcc/watcher.go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from coord.server.mvcc.records import varint
from coord.statuses import WATCH_COMPACTED, WATCH_DUPLICATE_ID, WATCH_EMPTY_RANGE

if TYPE_CHECKING:
    from coord.server.mvcc.watchers import WatchHub

QUEUE_RESPONSES: Final = 128
QUEUE_BYTES: Final = 8 << 20
"""A second bound, as a response has no bound of its own."""
INVALID_ID: Final = -1
_AUTO_ID: Final = 0
_CREATED: Final = b"\x18\x01"
_CANCELED: Final = b"\x20\x01"
_FRAGMENT: Final = b"\x38\x01"
_NO_EVENTS: Final[list[bytes]] = []


class Watcher:
    """What a client asked to see, and how far it has seen it."""

    __slots__ = (
        "batch",
        "batch_bytes",
        "batch_first",
        "batch_revisions",
        "end",
        "fragment",
        "id",
        "next",
        "no_delete",
        "no_put",
        "prev_kv",
        "progress",
        "quiet",
        "start",
        "start_revision",
        "stream",
        "synced",
    )

    def __init__(self, stream: WatchStream, watch_id: int, start: bytes, end: bytes | None) -> None:
        self.stream = stream
        self.id = watch_id
        self.start = start
        self.end = end  # b"" is a single key, None no upper bound
        self.start_revision = 0
        self.next = 0  # nothing below is wanted any more; while synced, everything up to the store's revision was seen
        self.synced = False
        self.no_put = self.no_delete = False
        self.prev_kv = self.fragment = False
        self.progress = False
        self.quiet = True  # no events since the last progress tick
        # Events gathered while catching up that were not queued yet; of whole revisions, all below `next`.
        self.batch: list[bytes] = []
        self.batch_first = 0  # the oldest revision in it
        self.batch_revisions = 0
        self.batch_bytes = 0

    def wants(self, key: bytes) -> bool:
        """True if `key` is in its range."""
        if self.end == b"":
            return key == self.start
        return self.start <= key and (self.end is None or key < self.end)


class CreateRequest(Protocol):
    """What `WatchStream.create` reads of a request; a WatchCreateRequest message is one."""

    @property
    def key(self) -> bytes: ...
    @property
    def range_end(self) -> bytes: ...
    @property
    def start_revision(self) -> int: ...
    @property
    def progress_notify(self) -> bool: ...
    @property
    def filters(self) -> Iterable[int]: ...
    @property
    def prev_kv(self) -> bool: ...
    @property
    def watch_id(self) -> int: ...
    @property
    def fragment(self) -> bool: ...


NO_PUT: Final = 0
NO_DELETE: Final = 1


class WatchStream:
    """The watchers of one client stream; made by `WatchHub.open`."""

    def __init__(self, hub: WatchHub, wake: Callable[[], None]) -> None:
        self.watchers: dict[int, Watcher] = {}
        self.blocked: dict[Watcher, None] = {}  # behind, and waiting for room in the queue
        self.closed = False
        self._hub = hub
        self._wake = wake
        # Heads and events: events are joined when they leave, so that streams that wait with the same ones share them.
        self._queue: deque[tuple[bytes, list[bytes]]] = deque()
        self._bytes = 0  # in the queue
        self._next_id = 0

    # --- requests

    def create(self, request: CreateRequest) -> int:
        """Start a watcher; returns its id, or -1 if the response that was queued says why there is none."""
        start = request.key or b"\0"
        end: bytes | None = request.range_end
        if end == b"\0":
            end = None
        if request.start_revision < 0:
            return self.refuse(WATCH_COMPACTED)
        if end and end <= start:
            return self.refuse(WATCH_EMPTY_RANGE)
        watch_id = request.watch_id
        # -1 cannot be told from "no watcher" by any client, so asking for it counts as asking for any id.
        if watch_id in (_AUTO_ID, INVALID_ID):
            watch_id = self._free_id()
        elif watch_id in self.watchers:
            return self.refuse(WATCH_DUPLICATE_ID)
        watcher = Watcher(self, watch_id, start, end)
        filters = list(request.filters)
        watcher.no_put, watcher.no_delete = NO_PUT in filters, NO_DELETE in filters
        watcher.prev_kv, watcher.fragment = request.prev_kv, request.fragment
        watcher.progress = request.progress_notify
        watcher.start_revision = request.start_revision
        self.watchers[watch_id] = watcher
        self._put(self._hub.header() + _field_id(watch_id) + _CREATED)
        self._hub.start(watcher)
        return watch_id

    def refuse(self, reason: str) -> int:
        """Answer a create request with a reason instead of a watcher; also for refusals decided elsewhere."""
        text = reason.encode()
        self._put(
            b"%b%b%b%b2%b%b" % (self._hub.header(), _field_id(INVALID_ID), _CREATED, _CANCELED, varint(len(text)), text)
        )
        return INVALID_ID

    def cancel(self, watch_id: int) -> bool:
        """End a watcher; nothing of it comes after the response. An unknown id is met with silence, as in etcd."""
        watcher = self.watchers.get(watch_id)
        if watcher is None:
            return False
        self._forget(watcher)
        self._put(self._hub.header() + _field_id(watch_id) + _CANCELED)
        return True

    def progress(self) -> bool:
        """Say up to which revision everything was delivered, if that can be said of all watchers of the stream."""
        revision = self._hub.revision
        told = self.watchers and all(
            watcher.synced and watcher.start_revision <= revision for watcher in self.watchers.values()
        )
        if told:
            self._put(self._hub.header() + _field_id(INVALID_ID))
        return bool(told)

    def tick_progress(self) -> None:
        """The progress interval passed: tell the watchers that asked for it and heard nothing since the last tick."""
        revision = self._hub.revision
        for watcher in self.watchers.values():
            if not watcher.progress:
                continue
            if watcher.quiet and watcher.synced and watcher.start_revision <= revision and not self.full:
                self._put(self._hub.header() + _field_id(watcher.id))
            watcher.quiet = True

    def close(self) -> None:
        """The client is gone."""
        if self.closed:
            return
        for watcher in list(self.watchers.values()):
            self._forget(watcher)
        self._queue.clear()
        self._bytes = 0
        self.closed = True
        self._hub.closed(self)

    # --- responses

    def pop(self) -> bytes | None:
        """The next encoded WatchResponse, None if there is none."""
        if not self._queue:
            return None
        head, events = self._queue.popleft()
        self._bytes -= len(head) + sum(map(len, events))
        # Not at the first free place: catching up in steps of one response would cost a lookup each.
        if self.blocked and len(self._queue) <= QUEUE_RESPONSES // 2 and self._bytes <= QUEUE_BYTES // 2:
            self._hub.resume(self)
        return b"".join((head, *events)) if events else head

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """True if events must wait; whoever feeds requests should wait as well, as their answers are always queued."""
        return len(self._queue) >= QUEUE_RESPONSES or self._bytes >= QUEUE_BYTES

    def offer(self, watcher: Watcher, header: bytes, events: list[bytes]) -> bool:
        """Queue a response with events; False if there is no room."""
        if self.full:
            return False
        watcher.quiet = False
        head = header + _field_id(watcher.id)
        if watcher.fragment and len(events) > 1:
            for part in _fragments(head, events, self._hub.fragment_bytes):
                self._put(*part)
        else:
            self._put(head, events)
        return True

    def compacted(self, watcher: Watcher, header: bytes, revision: int) -> None:
        """End a watcher whose next revision is gone; the queue takes this even when it is full."""
        self._forget(watcher)
        self._put(b"%b%b%b\x28%b" % (header, _field_id(watcher.id), _CANCELED, varint(revision)))

    def _put(self, head: bytes, events: list[bytes] = _NO_EVENTS) -> None:
        self._queue.append((head, events))
        self._bytes += len(head) + sum(map(len, events))
        if len(self._queue) == 1:
            self._wake()

    def _forget(self, watcher: Watcher) -> None:
        self._hub.stop(watcher)
        del self.watchers[watcher.id]

    def _free_id(self) -> int:
        while self._next_id in self.watchers:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1


def _field_id(watch_id: int) -> bytes:
    return b"\x10" + varint(watch_id) if watch_id else b""


def _fragments(head: bytes, events: list[bytes], limit: int) -> list[tuple[bytes, list[bytes]]]:
    """The responses that carry `events`, each below `limit` unless one event alone is not.

    Source: etcd watch.go sendFragments.
    """
    if len(head) + sum(map(len, events)) < limit:
        return [(head, events)]
    parts: list[list[bytes]] = [[]]
    size = base = len(head) + len(_FRAGMENT)
    for event in events:
        if parts[-1] and size + len(event) >= limit:
            parts.append([])
            size = base
        parts[-1].append(event)
        size += len(event)
    return [*((head + _FRAGMENT, part) for part in parts[:-1]), (head, parts[-1])]
