"""The wait graph: what keys are places, who waits for whom, and which circles can never end."""

from __future__ import annotations

import asyncio
import json

import pytest

from coord.model import KeyValue
from coord.ops import Put, Txn
from coord.recipes.common.layout import place_in
from coord.recipes.locks.contender import Contender, in_line, sharing, with_permits
from coord.recipes.locks.graph import LockGraph, LockState, read_graph, who
from coord.recipes.locks.lock import Lock
from coord.recipes.locks.rwlock import RWLock
from coord.recipes.locks.semaphore import Semaphore
from tests.unit.recipes.direct import Place


def items(part: str, owners: str, name: str = "n") -> list[KeyValue]:
    """Places of these owners, in this order; a lower-case owner of a read/write lock reads."""
    found = []
    for at, owner in enumerate(owners, 1):
        middle = part or ("rw/r/" if owner.islower() else "rw/w/")
        value = json.dumps({"host": "h", "pid": 1, "task": owner.upper()}).encode()
        found.append(KeyValue(f"{name}/{middle}1-{at}".encode(), value, at, at, 1, 1))
    return found


def lock(name: str, owners: str) -> LockState:
    return LockState(name, "lock", tuple(in_line(items("", owners, name))))


def rwlock(name: str, owners: str) -> LockState:
    return LockState(name, "rwlock", tuple(sharing(name.encode(), items("", owners, name))))


def semaphore(name: str, permits: int, owners: str) -> LockState:
    return LockState(name, "semaphore", tuple(with_permits(items("sem/p/", owners, name), permits)), permits)


def letter(contender: Contender) -> str:
    return contender.owner.task


def edges(*locks: LockState) -> list[tuple[str, str]]:
    return [(letter(wait.waiter), "".join(map(letter, wait.blockers))) for wait in LockGraph(1, locks).waits()]


def circles(*locks: LockState) -> list[str]:
    return ["".join(letter(wait.waiter) for wait in circle) for circle in LockGraph(1, locks).cycles()]


@pytest.mark.parametrize(
    ("key", "lease", "name", "part"),
    [
        (b"a/1f", 0x1F, b"a", b""),
        (b"a/b/1f-3", 0x1F, b"a/b", b""),
        (b"a/-1-3", -1, b"a", b""),
        (b"a/rw/r/1f-3", 0x1F, b"a", b"rw/r"),
        (b"a/rw/w/1f-3", 0x1F, b"a", b"rw/w"),
        (b"a/sem/p/1f-3", 0x1F, b"a", b"sem/p"),
        (b"a/latch/calls/1f-3", 0x1F, b"a", b"latch/calls"),
    ],
)
def test_places(key: bytes, lease: int, name: bytes, part: bytes) -> None:
    assert place_in(key, lease) == (name, part)


@pytest.mark.parametrize(
    ("key", "lease"),
    [
        (b"users/12", 0),
        (b"users/12", 7),
        (b"a/1f", 0x1),
        (b"1f", 0x1F),
        (b"a/1f-x", 0x1F),
        (b"a/1f-3-4", 0x1F),
        (b"a/", 1),
    ],
)
def test_what_looks_like_a_place_and_is_none(key: bytes, lease: int) -> None:
    assert place_in(key, lease) is None


def test_who_waits_for_whom() -> None:
    assert edges(lock("n", "ABC")) == [("B", "A"), ("C", "B")]
    assert edges(rwlock("n", "abC")) == [("C", "BA")]
    assert edges(rwlock("n", "AbcD")) == [("B", "A"), ("C", "A"), ("D", "CB")]
    assert edges(rwlock("n", "ABc")) == [("B", "A"), ("C", "B")]
    assert edges(semaphore("n", 2, "ABCD")) == [("C", "AB"), ("D", "C")]
    assert edges(semaphore("n", 2, "AB"), lock("m", "A")) == []


def test_circles() -> None:
    assert circles(lock("a", "AB"), lock("b", "BA")) == ["AB"]
    assert circles(lock("a", "AB"), lock("b", "BC"), lock("c", "CA")) == ["ACB"]
    assert circles(lock("a", "AB"), lock("b", "BC")) == []
    assert circles(lock("a", "AA")) == ["A"], "it waits for itself"
    assert circles(rwlock("a", "aA")) == ["A"], "a reader that wants to write"
    assert circles(rwlock("a", "aB"), lock("b", "BA")) == ["AB"]


def test_a_circle_through_a_waiter_that_holds_nothing_there() -> None:
    # C waits behind B, which waits for A, which waits for what C holds.
    assert circles(lock("a", "ABC"), lock("c", "CA")) == ["ACB"]


def test_who_only_waits_for_a_circle_is_in_none() -> None:
    assert circles(lock("a", "ABX"), lock("b", "BA")) == ["AB"]


def test_two_circles() -> None:
    assert circles(lock("a", "AB"), lock("b", "BA"), lock("c", "CD"), lock("d", "DC")) == ["AB", "CD"]


def test_a_semaphore_is_a_deadlock_only_if_every_holder_is_stuck() -> None:
    assert circles(semaphore("s", 2, "ABC"), lock("c", "CA")) == [], "B may go"
    assert circles(semaphore("s", 2, "ABC"), lock("c", "CAB")) == ["AC"]


def test_a_wait_tells_itself() -> None:
    (wait,) = LockGraph(1, (lock("shop", "AB"),)).waits()
    assert str(wait) == "B 1 on h waits on 'shop' for A 1 on h"
    (either,) = LockGraph(1, (semaphore("pool", 2, "ABC"),)).waits()
    assert str(either) == "C 1 on h waits on 'pool' for A 1 on h or B 1 on h"


def test_it_is_read_at_one_revision() -> None:
    place = Place()
    client = place.client()
    with Lock(client, "shop/a"), RWLock(client, "shop/b").read(), Semaphore(client, "shop/c", 2), Lock(client, "other"):
        place.server.txn(Txn(then=(Put(b"shop/12"), Put(b"shop/a/config"))))
        place.server.txn(Txn(then=(Put(b"shop/a/ff"),)))  # as Go stores it, but on no lease
        client.requests.clear()
        graph = Reader(client).lock_graph("shop/")
        assert [(each.name, each.kind, each.permits) for each in graph.locks] == [
            ("shop/a", "lock", 0),
            ("shop/b", "rwlock", 0),
            ("shop/c", "semaphore", 2),
        ]
        assert all(len(each.holders) == 1 for each in graph.locks)
        assert graph.revision == place.server.machine.revision
        assert len(client.requests) == 2
        assert {each.name for each in Reader(client).lock_graph("").locks} == {"shop/a", "shop/b", "shop/c", "other"}


class Reader:
    """Reads a graph through a port, on both faces."""

    def __init__(self, client: object) -> None:
        self.client = client

    def lock_graph(self, prefix: str) -> LockGraph:
        graph: LockGraph = asyncio.run(read_graph(self.client, prefix, None))  # type: ignore[arg-type]  # a direct port
        return graph


def test_owners_that_say_nothing_are_told_by_their_lease() -> None:
    place = Place()
    client = place.client()
    place.server.grant(0x1F, 60)
    place.server.txn(Txn(then=(Put(b"shop/1f", b"", 0x1F),)))
    (state,) = Reader(client).lock_graph("shop").locks
    assert who(state.contenders[0]) == "lease 1f"


def test_many_keys_are_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coord.recipes.locks.graph.PAGE", 3)
    monkeypatch.setattr("coord.recipes.locks.graph.BATCH", 2)
    place = Place()
    client = place.client()
    held = [Lock(client, f"shop/{number}").acquire() for number in range(5)]
    for number in range(7):
        place.server.put(b"shop/x%d" % number, b"")
    assert len(Reader(client).lock_graph("shop/").locks) == len(held)


def test_a_compaction_in_the_middle_starts_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coord.recipes.locks.graph.PAGE", 1)
    place = Place()
    client = place.client()
    held = Lock(client, "shop/a").acquire()
    place.server.put(b"shop/b", b"")
    plain = client.range

    async def compacted(request: object, **rest: object) -> object:
        client.range = plain  # type: ignore[method-assign]  # the first read only
        answer = await plain(request, **rest)  # type: ignore[arg-type]  # as it came
        place.server.put(b"x", b"")
        place.server.compact()
        return answer

    client.range = compacted  # type: ignore[method-assign,assignment]  # the network between
    graph = Reader(client).lock_graph("shop/")
    assert graph.locks[0].contenders[0].key == held.key
    assert graph.revision == place.server.machine.revision
