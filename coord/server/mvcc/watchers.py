"""All watchers of a store: who is up to date and hears of each commit, and who has to catch up.

A synced watcher has seen every revision and is found by key when one is committed. A watcher that starts in the past,
or whose stream had no room, is lagging: it is served from the store, in slices that the caller schedules, until it has
seen everything. So every watcher gets each event exactly once and in order, whatever readers and other watchers do.

Source: etcd server/storage/mvcc/watchable_store.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coord.server.invariant import invariant
from coord.server.mvcc import catchup
from coord.server.mvcc.events import Events
from coord.server.mvcc.matching import WatcherIndex
from coord.server.mvcc.store import Change, Store
from coord.server.mvcc.streams import Watcher, WatchStream

SLICE: Final = 1000
"""Revisions or records looked at in one step of catching up; a few milliseconds."""


class WatchHub:
    """The watchers of one store.

    Attributes:
        on_work: called when watchers begin to lag while none did; `catch_up` should be scheduled until it returns
        False. fragment_bytes: responses that ask for it are split at this size.
    """

    def __init__(self, store: Store, encode_header: Callable[[int], bytes], *, max_response_bytes: int) -> None:
        self.on_work: Callable[[], None] | None = None
        self.fragment_bytes = max_response_bytes
        self.streams: dict[WatchStream, None] = {}
        self.lagging: dict[Watcher, None] = {}  # can be served now; served in turn
        self._synced: WatcherIndex[Watcher] = WatcherIndex()
        self._store = store
        self._encode_header = encode_header
        store.listen(self.publish)

    def open(self, wake: Callable[[], None]) -> WatchStream:
        """A new stream; `wake` is called whenever its queue turns from empty to not empty, and must not call back."""
        stream = WatchStream(self, wake)
        self.streams[stream] = None
        return stream

    # --- commits

    def publish(self, revision: int, changes: list[Change]) -> None:
        """Tell synced watchers of a commit; costs what matches."""
        if not self._synced.count:
            return
        events = Events(self._store, revision, changes)
        header = self._encode_header(revision)
        if len(changes) == 1:
            for watcher in self._synced.matching(changes[0][0]):
                self._deliver(watcher, revision, header, events, [0])
            return
        wanted: dict[Watcher, list[int]] = {}
        for at, (key, _, _) in enumerate(changes):
            for watcher in self._synced.matching(key):
                wanted.setdefault(watcher, []).append(at)
        for watcher, places in wanted.items():
            self._deliver(watcher, revision, header, events, places)

    def _deliver(self, watcher: Watcher, revision: int, header: bytes, events: Events, places: list[int]) -> None:
        if watcher.next > revision:  # it starts in the future
            return
        chosen = events.chosen(watcher, places)
        if chosen and not watcher.stream.offer(watcher, header, chosen):
            self._synced.remove(watcher, watcher.start, watcher.end)
            watcher.synced = False
            watcher.next = revision
            watcher.stream.blocked[watcher] = None

    # --- catching up

    def catch_up(self, budget: int = SLICE) -> bool:
        """Serve lagging watchers for one slice; True if there is more to do right away."""
        while budget > 0 and self.lagging:
            budget -= self._advance(next(iter(self.lagging)), budget)
        return bool(self.lagging)

    def _advance(self, watcher: Watcher, budget: int) -> int:
        """Move one lagging watcher on; returns the cost."""
        stream, store = watcher.stream, self._store
        lost = watcher.next < store.compacted
        held = watcher.batch_bytes
        cost = 1 if lost else catchup.read(store, watcher, budget)
        current = watcher.next > store.revision
        grown = watcher.batch_bytes > held
        if not (lost or current or catchup.is_whole(watcher)):
            if grown and not catchup.may_wait(watcher):
                return cost  # its turn goes on until the batch is whole
            if catchup.may_wait(watcher):
                self._last_in_turn(watcher)
                return cost
        del self.lagging[watcher]
        if not catchup.flush(watcher, self.header):
            stream.blocked[watcher] = None
        elif lost:
            stream.compacted(watcher, self._encode_header(0), store.compacted)
        elif current:
            self._sync(watcher)
        else:
            self.lagging[watcher] = None
        return cost

    def _last_in_turn(self, watcher: Watcher) -> None:
        del self.lagging[watcher]
        self.lagging[watcher] = None

    def resume(self, stream: WatchStream) -> None:
        """A stream's queue has room again."""
        blocked, stream.blocked = stream.blocked, {}
        for watcher in blocked:
            self._lag(watcher)

    def _lag(self, watcher: Watcher) -> None:
        idle = not self.lagging
        self.lagging[watcher] = None
        if idle and self.on_work is not None:
            self.on_work()

    def _sync(self, watcher: Watcher) -> None:
        watcher.synced = True
        self._synced.add(watcher, watcher.start, watcher.end)

    # --- for streams

    @property
    def revision(self) -> int:
        """The store's revision."""
        return self._store.revision

    def header(self) -> bytes:
        """The encoded header of a response that speaks of now."""
        return self._encode_header(self._store.revision)

    def start(self, watcher: Watcher) -> None:
        """A watcher was created: it wants everything from its start revision on, or from now on if that is 0."""
        revision = self._store.revision
        watcher.next = watcher.start_revision or revision + 1
        if watcher.next > revision:
            self._sync(watcher)
        else:
            self._lag(watcher)

    def stop(self, watcher: Watcher) -> None:
        """A watcher is gone."""
        if watcher.synced:
            self._synced.remove(watcher, watcher.start, watcher.end)
            watcher.synced = False
        self.lagging.pop(watcher, None)
        watcher.stream.blocked.pop(watcher, None)

    def closed(self, stream: WatchStream) -> None:
        """A stream is gone, and its watchers were stopped."""
        self.streams.pop(stream, None)

    # --- looking in

    def statistics(self) -> dict[str, int]:
        """How many streams, watchers and slow watchers there are, and responses waiting for readers."""
        return {
            "streams": len(self.streams),
            "watchers": sum(len(stream.watchers) for stream in self.streams),
            "slow_watchers": len(self.lagging) + sum(len(stream.blocked) for stream in self.streams),
            "pending_responses": sum(map(len, self.streams)),
        }

    def check(self) -> None:
        """Every watcher is synced, lagging or blocked, and only one of them.

        Raises:
            InvariantBroken: one is not.
        """
        self._synced.check()
        synced = 0
        for stream in self.streams:
            for watcher in stream.watchers.values():
                places = watcher.synced + (watcher in self.lagging) + (watcher in stream.blocked)
                invariant(places == 1, "a watcher is in no group or in several", watch=watcher.id, places=places)
                invariant(not (watcher.synced and watcher.batch), "a synced watcher holds events back")
                synced += watcher.synced
        invariant(synced == self._synced.count, "watchers of closed streams are kept")
