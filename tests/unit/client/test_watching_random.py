"""The watch machine against a server that does all that etcd may do, in random order; a seed is in each test's id."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

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
from coord.client.watch.watching import WatchStream
from coord.errors import Compacted, Unavailable
from coord.model import Event, EventKind, Header, KeyValue, WatchBatch
from coord.wire.watch import WatchReply

KEYS = [b"a", b"b", b"c"]
CLUSTER = 5


@dataclass
class ServerWatcher:
    key: bytes
    next_revision: int


@dataclass
class Server:
    """A store and one stream of it. Replies wait in `out` until the schedule hands them over."""

    rng: random.Random
    revision: int = 1
    compacted: int = 0
    history: list[Event] = field(default_factory=list)
    watchers: dict[int, ServerWatcher] = field(default_factory=dict)
    out: deque[WatchReply] = field(default_factory=deque)
    last_id: int = -1

    def write(self) -> None:
        self.revision += 1
        for key in self.rng.sample(KEYS, self.rng.randint(1, 3)):
            for _ in range(self.rng.randint(1, 2)):  # a put and a delete of one key may share a revision
                self.history.append(Event(EventKind.PUT, KeyValue(key, b"v", 1, self.revision, 1)))

    def compact(self) -> None:
        self.compacted = self.rng.randint(self.compacted, self.revision)

    def header(self) -> Header:
        return Header(cluster_id=CLUSTER, revision=self.revision)

    def receive(self, request: SendCreate | SendCancel) -> None:
        if isinstance(request, SendCancel):
            if self.watchers.pop(request.watch_id, None) is not None:
                self.out.append(WatchReply(self.header(), request.watch_id, canceled=True))
            return
        if request.key == request.range_end:
            reason = statuses.WATCH_EMPTY_RANGE
            self.out.append(WatchReply(self.header(), -1, created=True, canceled=True, reason=reason))
            return
        self.last_id += 1
        start = request.start_revision or self.revision + 1
        self.watchers[self.last_id] = ServerWatcher(request.key, start)
        self.out.append(WatchReply(self.header(), self.last_id, created=True))

    def serve(self) -> None:
        """Let one watcher see some of what it has not seen."""
        if not self.watchers:
            return
        watch_id, watcher = self.rng.choice(list(self.watchers.items()))
        if watcher.next_revision < self.compacted:
            del self.watchers[watch_id]
            self.out.append(WatchReply(Header(), watch_id, canceled=True, compact_revision=self.compacted))
            return
        until = self.rng.randint(watcher.next_revision, watcher.next_revision + 6)
        events = [
            event
            for event in self.history
            if event.item.key == watcher.key and watcher.next_revision <= event.item.mod_revision <= until
        ]
        watcher.next_revision = max(watcher.next_revision, min(until, self.revision) + 1)
        if events:
            self.reply(watch_id, events)
        elif watcher.next_revision == self.revision + 1:
            self.out.append(WatchReply(self.header(), watch_id))

    def reply(self, watch_id: int, events: list[Event]) -> None:
        while len(events) > 1 and self.rng.random() < 0.4:
            cut = self.rng.randint(1, len(events) - 1)
            self.out.append(WatchReply(self.header(), watch_id, fragment=True, events=events[:cut]))
            events = events[cut:]
        self.out.append(WatchReply(self.header(), watch_id, events=events))

    def break_stream(self) -> None:
        self.watchers.clear()
        self.out.clear()
        self.last_id = -1


@dataclass
class Reader:
    key: bytes
    start: int
    pinned: bool
    token: int
    batches: list[WatchBatch] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    compacted: bool = False


class Run:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.server = Server(self.rng)
        self.machine = WatchStream(rng=self.rng)
        self.readers: dict[int, Reader] = {}
        self.done: list[Reader] = []
        self.now = 0.0
        self.open = False
        self.tokens = 0

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case OpenStream():
                    self.open = True
                    self.do(self.machine.on_open(self.now))
                case CloseStream():
                    self.open = False
                    self.server.break_stream()
                case SendCreate() | SendCancel():
                    self.server.receive(action)
                case Deliver(token, batch):
                    self.readers[token].batches.append(batch)
                    self.readers[token].waiting.append(weight(batch))
                case Ready(token, revision):
                    if not self.readers[token].pinned:
                        self.readers[token].start = revision + 1
                        self.readers[token].pinned = True
                case Fail(token, error):
                    assert isinstance(error, Compacted)
                    reader = self.readers.pop(token)
                    reader.compacted = True
                    self.done.append(reader)
                case Verify():
                    self.do(self.machine.on_verified(self.server.revision, self.now))

    def step(self) -> None:
        self.now += self.rng.random()
        roll = self.rng.random()
        if roll < 0.30:
            self.server.write()
        elif roll < 0.65:
            self.hand_over()
        elif roll < 0.72:
            self.take()
        elif roll < 0.78:
            self.add()
        elif roll < 0.80:
            self.remove()
        elif roll < 0.83:
            self.fail()
        elif roll < 0.84:
            self.server.compact()
        else:
            self.do(self.machine.tick(self.now))

    def hand_over(self) -> None:
        if not self.open:
            return
        if self.server.out and self.rng.random() < 0.7:
            self.do(self.machine.on_reply(self.server.out.popleft(), self.now))
        else:
            self.server.serve()

    def take(self) -> None:
        for token, reader in list(self.readers.items()):
            if reader.waiting and self.rng.random() < 0.5:
                self.do(self.machine.consumed(token, reader.waiting.popleft(), self.now))

    def add(self) -> None:
        if len(self.readers) >= 5:
            return
        self.tokens += 1
        start = self.rng.choice([0, self.rng.randint(1, self.server.revision + 3)])
        reader = Reader(self.rng.choice(KEYS), start, bool(start), self.tokens)
        self.readers[self.tokens] = reader
        capacity = self.rng.choice([1, 3000, 1 << 20])
        self.do(self.machine.add(self.tokens, WatchSpec(reader.key, from_revision=start, capacity=capacity), self.now))

    def remove(self) -> None:
        if self.readers:
            token = self.rng.choice(list(self.readers))
            self.done.append(self.readers.pop(token))
            self.do(self.machine.remove(token, self.now))

    def fail(self) -> None:
        if self.open:
            self.open = False
            self.server.break_stream()
            self.do(self.machine.on_stream_error(Unavailable("broken", code=14), self.now))

    def settle(self) -> None:
        """Let everything that was promised arrive."""
        for _ in range(3000):
            if all(len(reader.batches) == len(self.expected(reader)) for reader in self.readers.values()):
                return
            due = self.machine.next_wake()
            if not self.open and due is not None:
                self.now = max(self.now, due)
                self.do(self.machine.tick(self.now))
            for token, reader in list(self.readers.items()):
                while reader.waiting and token in self.readers:
                    self.do(self.machine.consumed(token, reader.waiting.popleft(), self.now))
            self.server.serve()
            while self.open and self.server.out:
                self.do(self.machine.on_reply(self.server.out.popleft(), self.now))

    def expected(self, reader: Reader) -> list[tuple[int, list[Event]]]:
        wanted: dict[int, list[Event]] = {}
        for each in self.server.history:
            if each.item.key == reader.key and each.item.mod_revision >= reader.start:
                wanted.setdefault(each.item.mod_revision, []).append(each)
        return list(wanted.items())

    def check(self, reader: Reader, *, settled: bool) -> None:
        got = [(batch.revision, list(batch.events)) for batch in reader.batches]
        expected = self.expected(reader)
        assert got == expected[: len(got)]
        if settled and reader.pinned:
            assert len(got) == len(expected)


@pytest.mark.parametrize("seed", range(300))
def test_every_reader_sees_whole_revisions_in_order_without_gap_or_repetition(seed: int) -> None:
    run = Run(seed)
    for _ in range(600):
        run.step()
    run.settle()
    for reader in run.done:
        run.check(reader, settled=False)
    for reader in run.readers.values():
        run.check(reader, settled=True)


def test_the_schedules_reach_every_kind_of_trouble() -> None:
    """Guards the test above: pauses, compactions, joined fragments and resumed streams must all have happened."""
    compacted = paused = resumed = batches = 0
    for seed in range(40):
        run = Run(seed)
        for _ in range(600):
            before = run.open
            run.step()
            resumed += run.open and not before
            paused += any("PAUSED" in str(each.phase) for each in run.machine._watchers.values())
        compacted += sum(reader.compacted for reader in run.done)
        batches += sum(len(reader.batches) for reader in [*run.done, *run.readers.values()])
    assert min(compacted, paused, resumed) > 20
    assert batches > 1000
