"""Who holds what, who waits for whom, and who waits in a circle: all locks below a prefix, at one revision.

Everything is read from what contenders store anyway. An owner is a thread or task of a process on a host, or the owner
that `rlock` was given; who says nothing of itself (Go's clients) is told by its lease. So a circle is seen across
hosts, and across plain locks, read/write locks and semaphores.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from coord.errors import Compacted
from coord.keys import to_bytes
from coord.model import KeyValue
from coord.ops import Get, Txn, span
from coord.port import Port
from coord.recipes.common.layout import PERMITS, READERS, WRITERS, permit_count_of, place_in
from coord.recipes.locks.contender import Contender, in_line, sharing, with_permits
from coord.recipes.locks.permits import parse_count

PAGE: Final = 1000  # keys in one read
BATCH: Final = 100  # values in one read; etcd refuses more than 128 operations


@dataclass(frozen=True, slots=True)
class Wait:
    """One contender that waits.

    Attributes:
        name: of the lock.
        waiter: who waits.
        blockers: who stands in its way: all of them have to go, or any one of them.
        any_of: True if it is enough that one of them goes: the holders of a semaphore's permits.
    """

    name: str
    waiter: Contender
    blockers: tuple[Contender, ...]
    any_of: bool = False

    def __str__(self) -> str:
        them = (" or " if self.any_of else ", ").join(sorted({who(each) for each in self.blockers}))
        return f"{who(self.waiter)} waits on {self.name!r} for {them}"


@dataclass(frozen=True, slots=True)
class LockState:
    """One lock, and everybody who contends for it.

    Attributes:
        name: its name.
        kind: "lock" (or an election), "rwlock" or "semaphore".
        contenders: holders and waiters, in the order in which they asked; `holds` tells who is in.
        permits: how many may be in, for a semaphore; else 0.
    """

    name: str
    kind: str
    contenders: tuple[Contender, ...]
    permits: int = 0

    @property
    def holders(self) -> tuple[Contender, ...]:
        """Who is in."""
        return tuple(each for each in self.contenders if each.holds)

    def waits(self) -> Iterator[Wait]:
        """Who waits for whom here: each for the nearest that keep it out."""
        for position, each in enumerate(self.contenders):
            if each.holds:
                continue
            ahead = self.contenders[:position]
            if each.mode == "read":
                yield Wait(self.name, each, (next(other for other in reversed(ahead) if other.mode == "write"),))
            elif each.mode == "write":
                yield Wait(self.name, each, _readers_or_writer(ahead))
            elif each.mode == "permit" and ahead[-1].holds:
                yield Wait(self.name, each, ahead, any_of=True)
            else:
                yield Wait(self.name, each, ahead[-1:])


@dataclass(frozen=True, slots=True)
class LockGraph:
    """All locks below a prefix.

    Attributes:
        revision: the state of the store that it shows.
        locks: by name.
    """

    revision: int
    locks: tuple[LockState, ...]

    def waits(self) -> list[Wait]:
        """Who waits for whom, in all of them."""
        return [wait for lock in self.locks for wait in lock.waits()]

    def cycles(self) -> list[tuple[Wait, ...]]:
        """Owners that wait for each other in a circle and can never go on, unless somebody gives up or dies.

        One circle for each group of owners that are knotted together; each of its waits is on somebody of the next one.
        An owner that waits for what it holds itself (a lock is not re-entrant) is a circle of one.
        """
        stuck = _stuck(self.waits())
        found: list[tuple[Wait, ...]] = []
        told: set[str] = set()
        for owner in sorted(stuck):
            circle = _circle(owner, stuck) if owner not in told else ()
            if circle:
                found.append(circle)
                told.update(other for other in _reached(owner, stuck) if owner in _reached(other, stuck))
        return found


def who(contender: Contender) -> str:
    """The owner's name, the same in all of its places: "worker-1 4711 on host7", or its lease if it says nothing."""
    return str(contender.owner) if contender.owner.host else f"lease {contender.lease:x}"


def _readers_or_writer(ahead: Sequence[Contender]) -> tuple[Contender, ...]:
    """What keeps a writer out: the readers directly in front, or the writer directly in front."""
    found: list[Contender] = []
    for other in reversed(ahead):
        if other.mode == "write":
            return tuple(found) or (other,)
        found.append(other)
    return tuple(found)


def _stuck(waits: Iterable[Wait]) -> dict[str, list[Wait]]:
    """Owners that cannot go on whatever the others do, with their waits.

    Whoever waits for nothing can go on; then so can those who wait for those alone, and so forth.
    """
    stuck: dict[str, list[Wait]] = defaultdict(list)
    for wait in waits:
        stuck[who(wait.waiter)].append(wait)
    going = True
    while going:
        going = False
        for owner, own in list(stuck.items()):
            if all(_can_end(wait, stuck) for wait in own):
                del stuck[owner]
                going = True
    return dict(stuck)


def _can_end(wait: Wait, stuck: Mapping[str, object]) -> bool:
    free = [who(each) not in stuck for each in wait.blockers]
    return any(free) if wait.any_of else all(free)


def _reached(owner: str, stuck: Mapping[str, Sequence[Wait]]) -> set[str]:
    """Whom an owner waits for, directly or through others; of those that are stuck."""
    found: set[str] = set()
    left = [owner]
    while left:
        for wait in stuck[left.pop()]:
            new = {who(each) for each in wait.blockers} & stuck.keys() - found
            found |= new
            left.extend(new)
    return found


def _circle(owner: str, stuck: Mapping[str, Sequence[Wait]]) -> tuple[Wait, ...]:
    """The shortest way from an owner's waits back to it; empty if it only waits for a circle."""
    ways: deque[tuple[Wait, ...]] = deque((wait,) for wait in stuck[owner])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for blocker in sorted({who(each) for each in way[-1].blockers}):
            if blocker == owner:
                return way
            if blocker in stuck and blocker not in seen:
                seen.add(blocker)
                ways.extend((*way, wait) for wait in stuck[blocker])
    return ()


# --- reading


async def read_graph(port: Port, prefix: str | bytes, deadline: float | None) -> LockGraph:
    """All locks below `prefix`, at one revision.

    Raises:
        CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
    """
    start, end = span(to_bytes(prefix), prefix=True)
    while True:
        try:
            revision, places = await _places(port, start, end, deadline)
            keys = [key for places_of_one in places.values() for key in places_of_one]
            names = {name for name, kind in places if kind == "semaphore"}
            values = await _values(port, [*keys, *map(permit_count_of, names)], revision, deadline)
        except Compacted:
            continue  # That revision is gone; a newer one is not.
        locks = [_lock(name, kind, [values[key] for key in found], values) for (name, kind), found in places.items()]
        return LockGraph(revision, tuple(sorted(locks, key=lambda lock: (lock.name, lock.kind))))


async def _places(
    port: Port, start: bytes, end: bytes, deadline: float | None
) -> tuple[int, dict[tuple[bytes, str], list[bytes]]]:
    """The revision, and the keys of the places in each queue, oldest first."""
    found: dict[tuple[bytes, str], list[KeyValue]] = defaultdict(list)
    revision, more = 0, True
    while more:
        page = await port.range(Get(start, end, limit=PAGE, revision=revision, keys_only=True), deadline=deadline)
        revision = revision or page.header.revision
        for item in page.items:
            place = place_in(item.key, item.lease)
            if place is not None and place.part in _KINDS:
                found[place.name, _KINDS[place.part]].append(item)
            start = item.key + b"\x00"
        more = page.more
    return revision, {
        queue: [item.key for item in sorted(items, key=lambda item: item.create_revision)]
        for queue, items in found.items()
    }


async def _values(port: Port, keys: Sequence[bytes], revision: int, deadline: float | None) -> dict[bytes, KeyValue]:
    found: dict[bytes, KeyValue] = {}
    for begin in range(0, len(keys), BATCH):
        request = Txn(then=tuple(Get(key, revision=revision) for key in keys[begin : begin + BATCH]))
        result = await port.txn(request, deadline=deadline)
        for position in range(len(request.then)):
            found.update((item.key, item) for item in result.range(position).items)
    return found


_KINDS: Final = {b"": "lock", READERS: "rwlock", WRITERS: "rwlock", PERMITS: "semaphore"}


def _lock(name: bytes, kind: str, items: Sequence[KeyValue], values: Mapping[bytes, KeyValue]) -> LockState:
    text = name.decode("utf-8", "backslashreplace")
    if kind == "rwlock":
        return LockState(text, kind, tuple(sharing(name, items)))
    if kind == "semaphore":
        count = values.get(permit_count_of(name))
        permits = 1 if count is None else parse_count(count.value)
        return LockState(text, kind, tuple(with_permits(items, permits)), permits)
    return LockState(text, kind, tuple(in_line(items)))
