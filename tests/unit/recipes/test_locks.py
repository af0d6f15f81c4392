"""Several names as one lock on a port without network, on both faces."""

from __future__ import annotations

import asyncio
import gc
import queue
from typing import Any

import pytest

from coord.errors import LockLost, LockTimeout, UsageError
from coord.model import LeaseState
from coord.ops import Delete, Get, Txn
from coord.recipes.locks.lock import Lock
from coord.recipes.locks.locks import AsyncLocks, Locks
from tests.unit.recipes.direct import DirectPort, Place


def keys(place: Place) -> list[bytes]:
    return sorted(key for name in (b"a/", b"b/", b"c/") for key in place.server.keys(name))


def test_all_of_them_are_held_and_given_back() -> None:
    place = Place()
    client, other = place.client(), place.client()
    with Locks(client, "b", "a") as held:
        assert list(held.fences) == ["a", "b"]
        assert sorted(held.keys.values()) == keys(place)
        assert held.fence == held.fences["b"] > held.fences["a"]
        assert Lock(other, "a").try_acquire() is None
        assert Lock(other, "b").try_acquire() is None
        assert 9 < held.remaining() <= 10
    assert keys(place) == []
    assert held.state is LeaseState.LOST
    assert held.release() is False


def test_names_are_merged_and_ordered() -> None:
    place = Place()
    lock = Locks(place.client(), "c", b"a", "c", "b")
    assert lock.name == "a, b, c"
    assert repr(lock) == "<Locks 'a, b, c' ttl=10>"
    with lock as held:
        assert len(keys(place)) == 3
        assert list(held.fences.values()) == sorted(held.fences.values()), "taken in this order"


def test_opposite_orders_wait_for_the_same_name_first() -> None:
    place = Place()
    one, two = Locks(place.client(), "a", "b").acquire(), place.client()
    seen: list[list[bytes]] = []

    def leave() -> None:
        seen.append(keys(place))
        one.release()

    two.while_waiting.append(leave)
    with Locks(two, "b", "a"):
        assert len(keys(place)) == 2
    assert len([key for key in seen[0] if key.startswith(b"b/")]) == 1, "it does not hold b while it waits for a"


def test_none_is_kept_when_one_is_not_won() -> None:
    place = Place()
    busy = Lock(place.client(), "b").acquire()
    client = place.client()
    assert Locks(client, "a", "b", "c").try_acquire() is None
    assert keys(place) == [busy.key]
    before = place.clock.now()
    with pytest.raises(LockTimeout):
        Locks(client, "a", "b", timeout=3).acquire()
    assert place.clock.now() == pytest.approx(before + 3)
    assert keys(place) == [busy.key]


def test_an_interrupt_in_the_middle_keeps_none() -> None:
    place = Place()
    busy = Lock(place.client(), "b").acquire()
    client = place.client()

    def interrupt() -> None:
        raise KeyboardInterrupt

    client.while_waiting.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Locks(client, "a", "b").acquire()
    assert keys(place) == [busy.key]


def test_requests() -> None:
    client = Place().client()
    one, three = Locks(client, "a"), Locks(client, "a", "b", "c")
    one.acquire().release()
    client.requests.clear()
    one.acquire().release()
    assert len(client.requests) == 2
    client.requests.clear()
    three.acquire().release()
    # A claim for each, one look at all of them, one deletion of all.
    assert len(client.requests) == 3 + 1 + 1


def test_a_write_is_refused_once_one_of_them_is_gone() -> None:
    place = Place()
    held = Locks(place.client(), "a", "b").acquire()
    held.put("k", "1")
    place.server.txn(Txn(then=(Delete(held.keys["a"]),)))
    with pytest.raises(LockLost):
        held.put("k", "2")
    assert place.server.range(Get(b"k")).items[0].value == b"1"
    assert held.state is LeaseState.LOST


def test_a_name_that_is_lost_while_the_next_is_waited_for_is_taken_again() -> None:
    place = Place()
    busy = Lock(place.client(), "b", ttl=60).acquire()
    client = place.client()

    def delete_first() -> None:
        (key,) = place.server.keys(b"a/")
        place.server.txn(Txn(then=(Delete(key),)))

    client.while_waiting += [delete_first, lambda: busy.release()]
    with Locks(client, "a", "b") as held:
        assert sorted(held.keys.values()) == keys(place)


def test_a_lease_that_is_lost_in_the_middle_costs_all_of_them() -> None:
    place = Place()
    busy = Lock(place.client(), "b", ttl=60).acquire()
    client = place.client()
    client.while_waiting += [client.lose, lambda: busy.release()]
    with Locks(client, "a", "b") as held:
        assert sorted(held.keys.values()) == keys(place)
        assert held.state is LeaseState.HELD


def test_a_loss_is_told() -> None:
    client = Place().client()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    held = Locks(client, "a", "b", on_lost=told.put).acquire()
    client.lose()
    assert told.get(timeout=5) is held
    with pytest.raises(LockLost, match="'a, b' was lost"):
        held.check()


def test_a_dropped_guard_gives_all_of_them_back() -> None:
    place = Place()
    client = place.client()
    held = Locks(client, "a", "b").acquire()
    assert len(keys(place)) == 2
    del held
    gc.collect()
    client.keep()
    assert keys(place) == []


@pytest.mark.parametrize("names", [(), ("",), ("a", ""), tuple(str(number) for number in range(101))])
def test_names_that_are_none(names: tuple[str, ...]) -> None:
    client: DirectPort = Place().client()
    with pytest.raises(UsageError):
        Locks(client, *names)
    with pytest.raises(UsageError):
        AsyncLocks(client, *names)


def test_the_asyncio_face() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        async with AsyncLocks(client, "b", "a") as held:
            await held.put("k", "v")
            assert list(held.fences) == ["a", "b"]
            assert await AsyncLocks(place.client(), "c", "a").try_acquire() is None
        assert keys(place) == []
        assert await held.release() is False

    asyncio.run(program())
