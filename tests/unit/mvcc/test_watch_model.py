"""Random interleavings of writers, readers of every speed, compaction and slices of catching up.

Whatever happens, each watcher gets every event of its range exactly once, in order and in whole revisions, or is told
that what it misses was compacted.
"""

from __future__ import annotations

import random

import pytest

from coord.server.mvcc import catchup, compaction, streams
from coord.server.mvcc.records import created_by
from coord.server.mvcc.streams import NO_DELETE, NO_PUT, WatchStream
from coord.server.storage.contract import Bucket
from coord.wire.rpc_pb2 import WatchCreateRequest, WatchResponse
from tests.unit.mvcc.reference import Happened, Reference
from tests.unit.mvcc.watching import Watched

KEYS = [b"a/1", b"a/2", b"b/1", b"b/2", b"c"]
RANGES = [(b"a/1", b""), (b"c", b""), (b"a/", b"a0"), (b"", b"\0"), (b"b", b"\0"), (b"b/", b"b0"), (b"a/1", b"c")]


class Expected:
    """One watcher as its client sees it."""

    def __init__(self, request: WatchCreateRequest, revision: int) -> None:
        self.request = request
        self.first = request.start_revision or revision + 1
        self.heard: list[tuple[int, bytes, bool, bytes | None]] = []
        self.created = self.canceled = False
        self.fragments: list[tuple[int, bytes, bool, bytes | None]] = []
        self.last_revision = 0
        self.progress = 0

    def wants(self, change: Happened) -> bool:
        key, end = self.request.key or b"\0", self.request.range_end
        inside = change.key == key if not end else change.key >= key and (end == b"\0" or change.key < end)
        kind = NO_DELETE if change.deleted else NO_PUT
        return inside and change.main >= self.first and kind not in self.request.filters

    def hear(self, response: WatchResponse) -> None:
        assert not self.canceled, "an event after the end"
        if response.canceled:
            self.canceled = True
            return
        events = [
            (
                event.kv.mod_revision,
                event.kv.key,
                bool(event.type),
                event.prev_kv.SerializeToString() if event.HasField("prev_kv") else None,
            )
            for event in response.events
        ]
        if not events:
            self.progress = max(self.progress, response.header.revision)
            return
        assert events[-1][0] <= response.header.revision
        self.fragments += events
        if response.fragment:
            return
        events, self.fragments = self.fragments, []
        assert events[0][0] > self.last_revision, "a revision in two responses, or out of order"
        self.last_revision = events[-1][0]
        self.heard += events


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.watched = Watched(max_response_bytes=300)
        self.reference = Reference()
        self.clients: dict[WatchStream, dict[int, Expected]] = {}
        self.ended: list[Expected] = []
        self.marks: set[int] = set()
        self.scrubbing = compaction.steps(self.watched.store)

    def step(self) -> None:
        verbs = [self.write, self.read, self.catch_up, self.open, self.create, self.cancel, self.compact, self.scrub]
        verbs += [self.progress, self.close]
        self.random.choices(verbs, [50, 12, 15, 2, 6, 1, 1, 6, 3, 1], k=1)[0]()
        self.watched.hub.check()

    def write(self) -> None:
        store = self.watched.store
        free = list(KEYS)  # no transaction puts a key twice
        for _ in range(self.random.choice([1, 1, 1, 1, 2, 4])):
            live = self.reference.live()
            if live and self.random.random() < 0.3:
                key = self.random.choice(live)
                store.delete(key)
                self.reference.delete(key)
            else:
                key, value = free.pop(self.random.randrange(len(free))), b"v" * self.random.choice([1, 90])
                store.put(key, value, 0)
                self.reference.put(key, value)
        store.commit()
        self.reference.commit()

    def open(self) -> None:
        if len(self.clients) < 4:
            self.clients[self.watched.open()] = {}

    def some_stream(self) -> WatchStream | None:
        return self.random.choice(list(self.clients)) if self.clients else None

    def create(self) -> None:
        stream = self.some_stream()
        if stream is None:
            return
        key, end = self.random.choice(RANGES)
        request = WatchCreateRequest(key=key, range_end=end)
        revision = self.reference.revision
        request.start_revision = self.random.choice([0, self.random.randint(1, revision + 3)])
        request.prev_kv = self.random.random() < 0.4
        request.fragment = self.random.random() < 0.4
        if self.random.random() < 0.2:
            request.filters.append(self.random.choice([WatchCreateRequest.NOPUT, WatchCreateRequest.NODELETE]))
        self.clients[stream][stream.create(request)] = Expected(request, revision)

    def cancel(self) -> None:
        stream = self.some_stream()
        if stream is not None and stream.watchers:
            stream.cancel(self.random.choice(list(stream.watchers)))

    def close(self) -> None:
        stream = self.some_stream()
        if stream is not None:
            stream.close()
            self.ended += self.clients.pop(stream).values()

    def read(self) -> None:
        stream = self.some_stream()
        if stream is None:
            return
        for _ in range(self.random.choice([1, 3, 10, 50])):
            encoded = stream.pop()
            if encoded is None:
                return
            self.hear(stream, WatchResponse.FromString(encoded))

    def hear(self, stream: WatchStream, response: WatchResponse) -> None:
        if response.created:
            self.clients[stream][response.watch_id].created = True
            return
        if response.watch_id == -1:
            for expected in self.clients[stream].values():
                if expected.created and not expected.canceled:
                    expected.progress = response.header.revision
                    self.judge(expected, up_to=expected.progress)
            return
        self.clients[stream][response.watch_id].hear(response)

    def catch_up(self) -> None:
        self.watched.hub.catch_up(self.random.choice([1, 3, 20]))

    def progress(self) -> None:
        stream = self.some_stream()
        if stream is not None:
            stream.progress()

    def compact(self) -> None:
        if self.reference.revision > self.reference.compacted + 1:
            revision = self.random.randint(self.reference.compacted + 1, self.reference.revision)
            self.watched.store.mark_compacted(revision)
            self.reference.compacted = revision
            self.marks.add(revision)
            self.scrubbing = compaction.steps(self.watched.store)

    def scrub(self) -> None:
        next(self.scrubbing, None)

    def finish(self) -> None:
        """Everybody reads everything."""
        while True:
            self.watched.settle()
            before = sum(len(stream) for stream in self.clients)
            for stream in self.clients:
                while (encoded := stream.pop()) is not None:
                    self.hear(stream, WatchResponse.FromString(encoded))
            if not before:
                break
        for clients in self.clients.values():
            for expected in clients.values():
                self.judge(expected, up_to=0 if expected.canceled else self.reference.revision)
        for expected in self.ended:
            self.judge(expected, up_to=0)

    def judge(self, expected: Expected, *, up_to: int) -> None:
        """What was heard is what happened, in order from the start, and nothing up to a revision is missing."""
        heard = {one[:3] for one in expected.heard}
        wanted = [
            change
            for change in self.reference.log
            if expected.wants(change)
            and ((change.main, change.key, change.deleted) in heard or self.must_be_heard(change))
        ]
        for change, (main, key, deleted, previous) in zip(wanted, expected.heard, strict=False):
            assert (main, key, deleted) == (change.main, change.key, change.deleted)
            if previous is not None:
                assert expected.request.prev_kv
                assert previous == change.previous
            elif expected.request.prev_kv and change.main > self.reference.compacted:
                assert change.previous is None or (not change.deleted and created_by(change.record))
        assert len(expected.heard) <= len(wanted)
        assert [change.main for change in wanted[len(expected.heard) :] if change.main <= up_to] == []

    def must_be_heard(self, change: Happened) -> bool:
        """Of two changes of one key in the very revision of a compaction, only the later survives it."""
        if change.main not in self.marks:
            return True
        return change is [one for one in self.reference.log if (one.main, one.key) == (change.main, change.key)][-1]


@pytest.mark.parametrize("seed", range(40))
def test_every_event_once_in_order_whole(seed, monkeypatch):
    monkeypatch.setattr(streams, "QUEUE_RESPONSES", 6)
    monkeypatch.setattr(catchup, "REVISIONS_PER_RESPONSE", 4)
    monkeypatch.setattr(catchup, "_FEW_KEYS", seed % 3)
    monkeypatch.setattr(catchup, "_REVISIONS_OF_KEY", 1 + seed % 4)
    monkeypatch.setattr(compaction, "BATCH", 2)
    world = World(seed)
    for _ in range(500):
        world.step()
    world.finish()
    assert sum(1 for _ in world.watched.backend.scan(Bucket.KEY)) <= len(world.reference.log)
