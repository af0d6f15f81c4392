"""One multiplexed watch stream, as a state machine.

Decides what to send, when to open the stream again and from which revision, what to deliver and what has failed. Knows
nothing of threads, loops, sockets or protobuf: every input takes the time and returns the actions that the shell must
carry out in order.

What a watcher is promised, over restarts, fail-overs and lost connections:

1. whole revisions, in order, none missing, none twice;
2. a watcher "from now" is pinned to the revision of its confirmation: everything after that is delivered;
3. it ends only with a `Fail`; compaction is one (`Compacted`), what follows is the reader's policy;
4. memory is bounded: a watcher whose reader is slow is cancelled at the server and later resumed after the last
   revision it was given, so that it loses nothing and holds up nobody else on the stream.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coord import statuses
from coord.client.watch.actions import (
    Action,
    CloseStream,
    Deliver,
    Fail,
    OpenStream,
    Ready,
    SendCancel,
    SendCreate,
    Verify,
    WatchSpec,
    weight,
)
from coord.client.watch.errors import Verdict, judge_reason, judge_stream_error
from coord.errors import Compacted, CoordError, HistoryLost, Unavailable
from coord.model import Event, WatchBatch

if TYPE_CHECKING:
    from coord.wire.watch import WatchReply

SILENCE_SECONDS = 10.0
"""A stream silent for so long is asked for a sign of life."""

PATIENCE_SECONDS = 5.0
"""An answer that takes longer means that the stream is dead."""

IDLE_SECONDS = 20.0
"""A stream without watchers is kept for so long: waiting calls come in bursts and opening costs a round trip."""

_DELAY_FIRST = 0.05
_DELAY_LAST = 2.0
_REAUTHENTICATIONS = 3


# A range that is empty by construction: every version of etcd, and its proxy, answers such a create at once and keeps
# nothing. A progress request cannot serve as heartbeat: etcd drops it silently while any watcher of the stream is
# catching up or starts in the future, which a resumed watcher on a quiet store always does.
_HEARTBEAT = SendCreate(b"\x01", b"\x01", 0)


class _Stream(enum.Enum):
    CLOSED = "closed"
    DELAYED = "delayed"
    OPENING = "opening"
    OPEN = "open"


class _Phase(enum.Enum):
    QUEUED = "queued"  # to be created as soon as the stream can
    CREATING = "creating"
    LIVE = "live"
    PAUSED = "paused"  # waits for its reader


@dataclass(slots=True)
class _Watcher:
    token: int
    spec: WatchSpec
    next_revision: int  # first revision not yet delivered; 0 until a watcher from now is pinned
    credit: int  # bytes the reader still has room for; a batch is delivered while it is > 0
    phase: _Phase = _Phase.QUEUED
    watch_id: int = -1  # valid while LIVE
    held: list[Event] = field(default_factory=list)  # fragment of a revision whose rest has not arrived
    announced: bool = False
    denied: bool = False  # refused once with a token that may have been stale


class WatchStream:
    """The machine. Never call it from two threads at once."""

    def __init__(self, *, authenticated: bool = False, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._authenticated = authenticated
        self._stream = _Stream.CLOSED
        self._watchers: dict[int, _Watcher] = {}
        self._by_id: dict[int, _Watcher] = {}
        self._queue: deque[int] = deque()  # tokens to be created, in order; may hold tokens that are gone
        self._creating: _Watcher | None = None  # at most one create is in flight: replies are matched by order
        self._asking = False  # a create (or heartbeat) is unanswered
        self._asked = 0.0
        self._heard = 0.0
        self._idle_since = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._refreshes = 0  # new tokens fetched since the last success
        self._reauthenticate = False
        self._cluster_id = 0
        self._floor = 0  # highest revision any reply has shown
        self._verifying = False
        self.last_error: CoordError | None = None

    # --- inputs of the readers

    def add(self, token: int, spec: WatchSpec, now: float) -> list[Action]:
        """Start a watcher under a token that is not in use."""
        self._watchers[token] = _Watcher(token, spec, spec.from_revision, spec.capacity)
        self._queue.append(token)
        return self._proceed(now)

    def remove(self, token: int, now: float) -> list[Action]:
        """End a watcher; nothing is delivered to it any more. An unknown token is fine."""
        watcher = self._watchers.pop(token, None)
        if watcher is None:
            return []
        if not self._watchers:
            self._idle_since = now
        return self._cancel(watcher)

    def consumed(self, token: int, size: int, now: float) -> list[Action]:
        """The reader took a batch of this weight; a paused watcher goes on once half of its room is free."""
        watcher = self._watchers.get(token)
        if watcher is None:
            return []
        watcher.credit += size
        if watcher.phase is not _Phase.PAUSED or watcher.credit * 2 < watcher.spec.capacity:
            return []
        watcher.phase = _Phase.QUEUED
        self._queue.append(token)
        return self._proceed(now)

    def close(self) -> list[Action]:
        """Forget everything and end the stream."""
        was_open = self._stream in (_Stream.OPEN, _Stream.OPENING)
        self._watchers.clear()
        self._detach()
        self._stream = _Stream.CLOSED
        return [CloseStream()] if was_open else []

    # --- inputs of the stream

    def on_open(self, now: float) -> list[Action]:
        """The stream asked for with `OpenStream` was opened (it may still fail)."""
        if self._stream is not _Stream.OPENING:
            return []
        self._stream = _Stream.OPEN
        self._heard = self._idle_since = now
        return self._proceed(now)

    def on_stream_error(self, error: CoordError, now: float) -> list[Action]:
        """The stream could not be opened, or ended, with this error."""
        if self._stream not in (_Stream.OPEN, _Stream.OPENING):
            return []
        self.last_error = error
        verdict = judge_stream_error(error)
        if verdict is Verdict.REAUTHENTICATE and self._authenticated and self._refreshes < _REAUTHENTICATIONS:
            self._reauthenticate = True
        elif verdict is not Verdict.RETRY:
            return self._fail_all(error)
        return self._restart(now)

    def on_reply(self, reply: WatchReply, now: float) -> list[Action]:
        """The stream brought a reply."""
        if self._stream is not _Stream.OPEN:
            return []
        self._heard = now
        lost = self._history_of(reply)
        if lost is not None:
            return [CloseStream(), *self._fail_all(lost)]
        if reply.created:
            return self._on_created(reply, now)
        watcher = self._by_id.get(reply.watch_id)
        if watcher is None:  # cancelled meanwhile, or the answer to a progress request
            return []
        if reply.canceled:
            del self._by_id[reply.watch_id]
            return self._on_refused(watcher, reply, now)
        if reply.events:
            return self._on_events(watcher, reply)
        return self._on_progress(watcher, reply)

    def on_history_lost(self, error: HistoryLost) -> list[Action]:
        """Somebody else of the client noticed it: what was seen so far measures nothing any more.

        The stream would take the new history for a loss once more, and with it what was built on it since.
        """
        self._cluster_id = self._floor = 0
        if self._stream is _Stream.OPEN:
            return [CloseStream(), *self._fail_all(error)]
        # One that is being opened cannot be taken back.
        failed: list[Action] = [Fail(token, error) for token in self._watchers]
        self._watchers.clear()
        return failed

    def on_verified(self, revision: int, now: float) -> list[Action]:
        """A linearizable read said that the store is at `revision` (0: it could not be read)."""
        self._verifying = False
        if not revision or revision >= self._floor:
            return []
        error = HistoryLost(f"the store went back from revision {self._floor} to {revision}", seen=self._floor)
        self._floor = revision
        closing: list[Action] = [CloseStream()] if self._stream is _Stream.OPEN else []
        return closing + self._fail_all(error)

    def tick(self, now: float) -> list[Action]:
        """Time passed; due at `next_wake`."""
        due = self.next_wake()
        if due is None or now < due:
            return []
        if self._stream is _Stream.DELAYED:
            return self._open()
        if self._asking:
            self.last_error = Unavailable(f"the watch stream gave no sign of life for {now - self._heard:.1f} s")
            return [CloseStream(dead=True), *self._restart(now)]
        if not self._watchers:
            self._detach()
            self._stream = _Stream.CLOSED
            return [CloseStream()]
        return self._ask(_HEARTBEAT, None, now)

    def next_wake(self) -> float | None:
        """When `tick` has something to do, None if only an input can change anything."""
        if self._stream is _Stream.DELAYED:
            return self._retry_at if self._watchers else None
        if self._stream is not _Stream.OPEN:
            return None
        if self._asking:
            return max(self._asked, self._heard) + PATIENCE_SECONDS
        if not self._watchers:
            return self._idle_since + IDLE_SECONDS
        return self._heard + SILENCE_SECONDS

    # --- facts

    @property
    def wants_stream(self) -> bool:
        """True while a stream is open, being opened or waited for."""
        return self._stream is not _Stream.CLOSED and (self._stream is not _Stream.DELAYED or bool(self._watchers))

    def lag(self, now: float) -> float:
        """Seconds since the server last gave a sign of life."""
        return max(0.0, now - self._heard) if self._heard else 0.0

    # --- inside

    def _proceed(self, now: float) -> list[Action]:
        """Open the stream if there is none, else send the next create."""
        if self._stream is _Stream.CLOSED:
            return self._open()
        if self._stream is _Stream.DELAYED and now >= self._retry_at:
            return self._open()
        if self._stream is not _Stream.OPEN or self._asking:
            return []
        while self._queue:
            watcher = self._watchers.get(self._queue.popleft())
            if watcher is None or watcher.phase is not _Phase.QUEUED:
                continue
            watcher.phase = _Phase.CREATING
            spec = watcher.spec
            request = SendCreate(
                spec.key,
                spec.range_end,
                watcher.next_revision,
                spec.puts,
                spec.deletes,
                spec.previous,
                spec.progress,
            )
            return self._ask(request, watcher, now)
        return []

    def _ask(self, request: SendCreate, watcher: _Watcher | None, now: float) -> list[Action]:
        self._creating, self._asking, self._asked = watcher, True, now
        return [request]

    def _open(self) -> list[Action]:
        self._stream = _Stream.OPENING
        reauthenticate, self._reauthenticate = self._reauthenticate, False
        self._refreshes += reauthenticate
        return [OpenStream(reauthenticate)]

    def _on_created(self, reply: WatchReply, now: float) -> list[Action]:
        if not self._asking:
            return []
        watcher, self._creating, self._asking = self._creating, None, False
        if reply.canceled:
            actions = self._on_refused(watcher, reply, now) if self._is_wanted(watcher) else []
            return actions + self._proceed(now)
        self._failures = self._refreshes = 0
        if watcher is None or not self._is_wanted(watcher):
            return [SendCancel(reply.watch_id), *self._proceed(now)]
        watcher.phase, watcher.watch_id, watcher.denied = _Phase.LIVE, reply.watch_id, False
        self._by_id[reply.watch_id] = watcher
        if not watcher.next_revision:
            watcher.next_revision = reply.header.revision + 1
        actions = self._announce(watcher) + self._suspect(watcher, reply.header.revision)
        return actions + self._proceed(now)

    def _is_wanted(self, watcher: _Watcher | None) -> bool:
        # By identity: the token of a removed watcher may have been given to a new one.
        return watcher is not None and self._watchers.get(watcher.token) is watcher

    def _announce(self, watcher: _Watcher) -> list[Action]:
        if watcher.announced:
            return []
        watcher.announced = True
        return [Ready(watcher.token, watcher.next_revision - 1)]

    def _suspect(self, watcher: _Watcher, revision: int) -> list[Action]:
        """A member that shows less than was seen may lag, or the cluster lost its history: only a read can tell."""
        if revision >= self._floor:
            self._floor = revision
            return []
        if self._verifying:
            return []
        self._verifying = True
        return [Verify(watcher.spec.key)]

    def _history_of(self, reply: WatchReply) -> HistoryLost | None:
        header = reply.header
        if not header.cluster_id:
            return None
        if self._cluster_id and header.cluster_id != self._cluster_id:
            error = HistoryLost(
                f"the endpoint belongs to cluster {header.cluster_id:x}, not to {self._cluster_id:x}",
                seen=self._floor,
            )
            self._cluster_id, self._floor = header.cluster_id, 0
            return error
        self._cluster_id = header.cluster_id
        if not reply.created:
            self._floor = max(self._floor, header.revision)
        return None

    def _on_refused(self, watcher: _Watcher | None, reply: WatchReply, now: float) -> list[Action]:
        """The server ended a watcher or did not make it."""
        if watcher is None:
            return []
        if reply.compact_revision or reply.reason == statuses.WATCH_COMPACTED:
            error: CoordError = Compacted(
                statuses.COMPACTED.text,
                code=statuses.COMPACTED.code,
                text=statuses.COMPACTED.text,
                compact_revision=reply.compact_revision,
            )
            return self._fail(watcher, error)
        verdict, error = judge_reason(reply.reason)
        # etcd 3.5.0 to 3.5.5 say "permission denied" of a token that is merely stale, so a new one is tried once.
        stale = verdict is Verdict.DENIED and not watcher.denied
        if self._authenticated and self._refreshes < _REAUTHENTICATIONS:
            watcher.denied = True
            if stale or verdict is Verdict.REAUTHENTICATE:
                self._reauthenticate = True
                return [CloseStream(), *self._restart(now)]
        if verdict is Verdict.RETRY:
            self.last_error = error
            return [CloseStream(), *self._restart(now)]
        return self._fail(watcher, error)

    def _on_events(self, watcher: _Watcher, reply: WatchReply) -> list[Action]:
        actions: list[Action] = []
        groups = _by_revision(watcher.held, reply.events)
        watcher.held = []
        if reply.fragment:
            watcher.held = groups.pop()
        for events in groups:
            revision = events[0].item.mod_revision
            if revision < watcher.next_revision:
                continue
            if watcher.credit <= 0:
                return actions + self._pause(watcher)
            batch = WatchBatch(revision, tuple(events))
            watcher.next_revision = revision + 1
            watcher.credit -= weight(batch)
            actions.append(Deliver(watcher.token, batch))
        return actions

    def _on_progress(self, watcher: _Watcher, reply: WatchReply) -> list[Action]:
        """A periodic mark of one watcher; etcd sends it in order and only when nothing is outstanding.

        The answer to a progress *request* carries id -1 and never gets here: before 3.4.25 and 3.5.8 etcd answered
        it ahead of events still on their way, so it proves life and nothing else.
        """
        revision = reply.header.revision
        if watcher.held or revision < watcher.next_revision:
            return []
        watcher.next_revision = revision + 1
        if not watcher.spec.progress or watcher.credit <= 0:
            return []
        batch = WatchBatch(revision)
        watcher.credit -= weight(batch)
        return [Deliver(watcher.token, batch)]

    def _pause(self, watcher: _Watcher) -> list[Action]:
        actions = self._cancel(watcher)
        watcher.phase = _Phase.PAUSED
        return actions

    def _cancel(self, watcher: _Watcher) -> list[Action]:
        watcher.held = []
        if watcher.phase is not _Phase.LIVE:
            return []
        del self._by_id[watcher.watch_id]
        return [SendCancel(watcher.watch_id)]

    def _fail(self, watcher: _Watcher, error: CoordError) -> list[Action]:
        del self._watchers[watcher.token]
        self._idle_since = self._heard
        return [Fail(watcher.token, error)]

    def _fail_all(self, error: CoordError) -> list[Action]:
        tokens = list(self._watchers)
        self._watchers.clear()
        self._detach()
        self._stream = _Stream.CLOSED
        return [Fail(token, error) for token in tokens]

    def _detach(self) -> None:
        """No stream any more: every watcher that was on it waits to be created again."""
        self._by_id.clear()
        self._creating, self._asking = None, False
        self._queue.clear()
        for watcher in self._watchers.values():
            watcher.held = []
            if watcher.phase is not _Phase.PAUSED:
                watcher.phase = _Phase.QUEUED
                self._queue.append(watcher.token)

    def _restart(self, now: float) -> list[Action]:
        self._detach()
        if not self._watchers:
            self._stream = _Stream.CLOSED
            return []
        self._stream = _Stream.DELAYED
        longest = min(_DELAY_LAST, _DELAY_FIRST * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._retry_at = now + longest * self._rng.uniform(0.5, 1.0)
        return []


def _by_revision(held: list[Event], events: Sequence[Event]) -> list[list[Event]]:
    """Events in the order given, cut where the revision changes."""
    groups: list[list[Event]] = [held] if held else []
    for event in events:
        if groups and groups[-1][0].item.mod_revision == event.item.mod_revision:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups
