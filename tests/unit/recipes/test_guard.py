"""The guard of a blocking lock: its loss, its writes, its form."""

from __future__ import annotations

import gc
import pickle
import threading
from datetime import timedelta
from typing import Any

import pytest

from coord.errors import (
    LeaseLost,
    LockLost,
    NotOwner,
    UsageError,
)
from coord.model import LeaseState
from coord.ops import Get, value
from coord.recipes.locks.lock import Lock
from coord.recipes.ownership.held import Held
from tests.unit.recipes.direct import Place


def keys(place: Place, name: bytes = b"stock") -> list[bytes]:
    return sorted(place.server.keys(name + b"/"))


# --- losing it


def test_leaving_the_block_after_a_loss_raises() -> None:
    place = Place()
    client = place.client()
    with pytest.raises(LockLost) as caught, Lock(client, "stock") as held:
        client.lose()
    assert caught.value.cause == "unreachable"
    assert caught.value.fence == held.fence
    assert isinstance(caught.value, LeaseLost)


def test_an_error_of_the_block_is_not_hidden_by_a_loss() -> None:
    client = Place().client()

    def fail_after_a_loss() -> None:
        with Lock(client, "stock"):
            client.lose()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_loss()


def test_an_error_of_the_block_gives_the_lock_back() -> None:
    place = Place()
    with pytest.raises(ZeroDivisionError), Lock(place.client(), "stock"):
        raise ZeroDivisionError
    assert keys(place) == []


def test_a_process_that_was_stopped_cannot_act() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    place.clock.advance(60)
    assert held.lost.is_set()
    assert held.remaining() == 0
    with pytest.raises(LockLost):
        held.check()
    with pytest.raises(LockLost):
        held.put("k", "v")


def test_loss_is_an_event_and_a_callback() -> None:
    client = Place().client()
    told = threading.Event()
    seen: list[Any] = []

    def on_lost(guard: Held) -> None:
        seen.append((guard, threading.current_thread().name))
        told.set()

    held = Lock(client, "stock", on_lost=on_lost).acquire()
    assert not held.lost
    assert not held.lost.wait(0)
    client.lose()
    assert held.lost.wait(5)
    assert told.wait(5)
    assert seen == [(held, "coord-on-lost")]
    assert "True" in repr(held.lost)


def test_who_waits_for_the_loss_is_woken() -> None:
    client = Place().client()
    held = Lock(client, "stock").acquire()
    told: list[bool] = []
    waiters = [threading.Thread(target=lambda: told.append(held.lost.wait(60)), daemon=True) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    while len(held.lost._waiting) < 2:
        waiters[0].join(0)
    client.lose()
    for waiter in waiters:
        waiter.join(5)
    assert told == [True, True]
    assert not held.lost._waiting


def test_a_loss_after_the_release_is_told_to_nobody() -> None:
    client = Place().client()
    seen: list[Any] = []
    held = Lock(client, "stock", on_lost=seen.append).acquire()
    held.release()
    client.lose()
    assert seen == []


def test_it_does_not_heal_by_itself() -> None:
    place = Place()
    client = place.client()
    held = Lock(client, "stock").acquire()
    client.lose()
    fresh = Lock(client, "stock").acquire()
    assert fresh.state is LeaseState.HELD
    assert held.state is LeaseState.LOST


def test_a_guard_that_is_waited_for_stays_alive_only_as_long_as_its_owner_wants() -> None:
    """The session must not keep the guard: its callback refers to it weakly."""
    place = Place()
    client = place.client()
    lost = Lock(client, "stock").acquire().lost
    gc.collect()
    client.keep()
    assert keys(place) == []
    assert not lost.is_set()


# --- writing under it


def test_a_write_that_carries_ownership() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    held.put("k", "v")
    assert place.server.range(Get(b"k")).items[0].value == b"v"


def test_a_write_of_an_outlived_owner_is_refused_by_the_store() -> None:
    place = Place()
    client = place.client()
    held = Lock(client, "stock").acquire()
    place.server.revoke(held.lease)
    assert held.state is LeaseState.HELD, "nobody has told it"
    with pytest.raises(LockLost) as caught:
        held.put("k", "v")
    assert caught.value.cause == "revoked"
    assert place.server.range(Get(b"k")).count == 0
    assert held.state is LeaseState.LOST
    assert held.lost.is_set()
    with pytest.raises(LockLost):
        held.check()


def test_a_transaction_may_compare_more() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    held.put("k", "1")
    done = held.txn().when(value("k") == "1").put("k", "2").get("k").commit()
    assert done.succeeded
    assert done.range(1).items[0].value == b"2"
    other = held.txn().when(value("k") == "1").put("k", "3").otherwise(Get(b"k")).commit()
    assert not other.succeeded
    assert other.range(0).items[0].value == b"2"
    held.txn().delete("k").commit()
    assert place.server.range(Get(b"k")).count == 0


def test_a_comparison_that_fails_is_no_loss() -> None:
    held = Lock(Place().client(), "stock").acquire()
    assert not held.txn().when(value("k") == "1").put("k", "2").commit().succeeded
    held.check()


def test_after_the_release_nothing_is_written() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    held.release()
    with pytest.raises(NotOwner):
        held.put("k", "v")
    with pytest.raises(NotOwner):
        held.check()
    assert held.cause == "withdrawn"
    assert held.remaining() == 0


def test_validity_can_be_asked_for() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    left = held.require(2)
    assert left == pytest.approx(held.remaining())
    place.clock.advance(8)
    with pytest.raises(LockLost) as caught:
        held.require(timedelta(seconds=2))
    assert caught.value.remaining == pytest.approx(1.5)
    held.require(1)


# --- form


def test_what_it_shows() -> None:
    place = Place()
    lock = Lock(place.client(), "stock")
    held = lock.acquire()
    assert repr(held) == f"<Lock 'stock' HELD fence={held.fence} left=9.5s>"
    place.clock.advance(7)
    assert repr(held) == f"<Lock 'stock' UNSURE fence={held.fence} left=2.5s>"
    place.clock.advance(7)
    assert repr(held) == f"<Lock 'stock' LOST fence={held.fence} left=0.0s>"
    held.release()
    assert "RELEASED" in repr(held)
    assert repr(lock) == "<Lock 'stock' ttl=10>"


def test_guards_refuse_pickling() -> None:
    held = Lock(Place().client(), "stock").acquire()
    with pytest.raises(TypeError, match="belongs to one process"):
        pickle.dumps(held)


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"ttl": -1}, {"ttl": "10"}, {"timeout": -1}, {"timeout": "soon"}, {"ttl": True}]
)
def test_wrong_arguments_are_told_at_once(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"name": "stock", **wrong}
    with pytest.raises(UsageError):
        Lock(Place().client(), arguments.pop("name"), **arguments)


def test_blocks_of_two_threads_leave_their_own() -> None:
    """One object, entered by a thread that lost it and by one that has it since."""
    place = Place()
    client = place.client()
    lock = Lock(client, "stock")
    entered, leave = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def outlived() -> None:
        try:
            with lock:
                entered.set()
                assert leave.wait(5)
        except LockLost as error:
            errors.append(error)

    thread = threading.Thread(target=outlived)
    thread.start()
    assert entered.wait(5)
    client.lose()
    with lock as held:
        leave.set()
        thread.join(5)
        assert [type(error) for error in errors] == [LockLost]
        assert held.state is LeaseState.HELD
        assert keys(place) == [held.key]
    assert keys(place) == []


def test_a_guard_is_a_block_too() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    with held as same:
        assert same is held
    assert keys(place) == []
    with pytest.raises(NotOwner), held:
        raise AssertionError("a block was entered without the lock")


def test_released_inside_of_the_block() -> None:
    place = Place()
    client = place.client()
    with Lock(client, "stock") as held:
        held.release()
        client.lose()
    assert keys(place) == []


def test_bytes_are_names_too() -> None:
    place = Place()
    lock = Lock(place.client(), b"\xff\x00")
    with lock:
        assert place.server.keys(b"\xff\x00/")
    assert lock.name == "\\xff\x00"


def test_a_session_remembers_no_guard_that_is_gone() -> None:
    client = Place().client()
    lock = Lock(client, "stock")
    for _ in range(5):
        lock.acquire().release()
        held = lock.acquire()
        del held
        gc.collect()
        client.place.clock.advance(0.01)
        client.keep()
    assert not client.sessions()[0]._callbacks
