"""The blocking lock on a port without network."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import threading
from datetime import timedelta
from typing import Any

import pytest

from coord.errors import (
    CallTimeout,
    LeaseLost,
    LockLost,
    LockTimeout,
    NotOwner,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
    UsageError,
)
from coord.model import LeaseState
from coord.ops import Get, Put, Txn, value
from coord.recipes.held import Held
from coord.recipes.lock import Lock
from tests.unit.recipes.direct import Place, Stuck


def keys(place: Place, name: bytes = b"stock") -> list[bytes]:
    return sorted(place.server.keys(name + b"/"))


# --- taking and giving back


def test_a_block_holds_the_lock_and_gives_it_back() -> None:
    place = Place()
    client = place.client()
    with Lock(client, "stock") as held:
        assert keys(place) == [held.key]
        assert held.fence == place.server.create_revision(held.key)
        assert held.state is LeaseState.HELD
        assert 9 < held.remaining() <= 10
        held.check()
    assert keys(place) == []
    assert held.state is LeaseState.LOST


def test_uncontended_it_takes_two_requests() -> None:
    client = Place().client()
    lock = Lock(client, "stock")
    lock.acquire().release()
    client.requests.clear()
    lock.acquire().release()
    assert len(client.requests) == 2


def test_the_key_has_gos_form_with_a_ticket() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    assert held.key.startswith(b"stock/%x-" % held.lease)
    assert held.lease in place.server.machine.lessor


def test_fences_grow_with_every_owner() -> None:
    place = Place()
    fences = []
    for _ in range(3):
        with Lock(place.client(), "stock") as held:
            fences.append(held.fence)
    assert fences == sorted(set(fences))


def test_two_locks_of_one_client_exclude_each_other() -> None:
    client = Place().client()
    with Lock(client, "stock"):
        assert Lock(client, "stock").try_acquire() is None
        assert Lock(client, "other").try_acquire() is not None


def test_it_is_not_reentrant() -> None:
    lock = Lock(Place().client(), "stock")
    with lock:
        assert lock.try_acquire() is None
        with pytest.raises(Stuck):
            lock.acquire()


def test_a_waiter_gets_it_when_the_holder_leaves() -> None:
    place = Place()
    first, second = place.client(), place.client()
    held = Lock(first, "stock").acquire()
    second.while_waiting.append(lambda: held.release() and None)
    after = Lock(second, "stock").acquire()
    assert after.fence > held.fence
    assert keys(place) == [after.key]


def test_a_waiter_gets_it_when_the_holder_dies() -> None:
    place = Place()
    first, second = place.client(), place.client()
    held = Lock(first, "stock", ttl=5).acquire()

    def die() -> None:
        place.clock.advance(6)
        place.server.expire()

    second.while_waiting.append(die)
    after = Lock(second, "stock", ttl=60).acquire()
    assert after.state is LeaseState.HELD
    assert held.state is LeaseState.LOST


def test_release_twice_is_harmless_and_says_so() -> None:
    place = Place()
    client = place.client()
    held = Lock(client, "stock").acquire()
    assert held.release() is True
    other = Lock(client, "stock").acquire()
    assert held.release() is False
    assert keys(place) == [other.key]
    assert other.state is LeaseState.HELD


def test_a_release_that_cannot_reach_the_server_is_finished_by_the_keeper() -> None:
    place = Place()
    client = place.client()
    held = Lock(client, "stock").acquire()
    client.troubles.append(Unavailable("down"))
    held.release()
    assert keys(place) == [held.key]
    client.keep()
    assert keys(place) == []


def test_a_dropped_guard_gives_the_lock_back() -> None:
    place = Place()
    client = place.client()
    held = Lock(client, "stock").acquire()
    assert keys(place)
    del held
    gc.collect()
    client.keep()
    assert keys(place) == []


# --- not getting it


def test_a_timeout_leaves_no_key() -> None:
    place = Place()
    first, second = place.client(), place.client()
    held = Lock(first, "stock").acquire()
    before = place.clock.now()
    with pytest.raises(LockTimeout) as caught:
        Lock(second, "stock", timeout=3).acquire()
    assert place.clock.now() == pytest.approx(before + 3)
    assert keys(place) == [held.key]
    assert caught.value.name == "stock"
    assert isinstance(caught.value, TimeoutError)


def test_the_timeout_of_the_call_comes_before_that_of_the_lock() -> None:
    place = Place()
    _held = Lock(place.client(), "stock").acquire()
    lock = Lock(place.client(), "stock", timeout=timedelta(seconds=3))
    before = place.clock.now()
    with pytest.raises(LockTimeout):
        lock.acquire(timeout=7)
    assert place.clock.now() == pytest.approx(before + 7)
    with pytest.raises(LockTimeout):
        lock.acquire()
    assert place.clock.now() == pytest.approx(before + 10)


def test_without_a_timeout_it_waits_for_ever() -> None:
    place = Place()
    _held = Lock(place.client(), "stock").acquire()
    lock = Lock(place.client(), "stock", timeout=3)
    with pytest.raises(Stuck):
        lock.acquire(timeout=None)
    with pytest.raises(Stuck):
        Lock(place.client(), "stock").acquire()


def test_timeout_zero_does_not_wait() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    before = place.clock.now()
    with pytest.raises(LockTimeout):
        Lock(place.client(), "stock", timeout=0).acquire()
    assert place.clock.now() == before
    assert keys(place) == [held.key]


def test_try_acquire_returns_a_guard_or_none() -> None:
    place = Place()
    lock = Lock(place.client(), "stock")
    held = lock.try_acquire()
    assert isinstance(held, Held)
    assert lock.try_acquire() is None
    held.release()
    assert lock.try_acquire() is not None


def test_try_acquire_tells_busy_from_unreachable() -> None:
    client = Place().client()
    lock = Lock(client, "stock")
    lock.acquire().release()
    client.troubles += [Unavailable("down")] * 100
    with pytest.raises(LockTimeout) as caught:
        lock.try_acquire()
    assert isinstance(caught.value.__cause__, (Unavailable, CallTimeout))


def test_a_refusal_is_raised_and_leaves_nothing() -> None:
    place = Place()
    client = place.client()
    lock = Lock(client, "stock")
    lock.acquire().release()
    client.troubles.append(PermissionDenied("no", code=7, text="no"))
    with pytest.raises(PermissionDenied):
        lock.acquire()
    client.keep()
    assert keys(place) == []
    assert not client.keeper.tickets


def test_an_interrupt_while_waiting_leaves_no_key() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    second = place.client()

    def interrupt() -> None:
        raise KeyboardInterrupt

    second.while_waiting.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Lock(second, "stock").acquire()
    assert keys(place) == [held.key]


@pytest.mark.parametrize("happened", [False, True])
def test_a_claim_without_an_answer_is_asked_again_and_made_once(happened: bool) -> None:
    place = Place()
    client = place.client()
    lock = Lock(client, "stock")
    lock.acquire().release()
    plain = client._commit
    lost = [True]

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if lost and request.writes:
            lost.clear()
            if happened:
                await plain(request, deadline=deadline)
            raise OutcomeUnknown("lost")
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # the network between
    held = lock.acquire()
    assert keys(place) == [held.key]
    assert held.fence == place.server.create_revision(held.key)


def test_a_place_lost_while_waiting_is_asked_for_again() -> None:
    place = Place()
    first, second = place.client(), place.client()
    held = Lock(first, "stock", ttl=60).acquire()

    def lose() -> None:
        second.lose()

    def leave() -> None:
        held.release()

    second.while_waiting += [lose, leave]
    after = Lock(second, "stock").acquire()
    assert after.state is LeaseState.HELD
    assert keys(place) == [after.key]


def test_a_place_deleted_by_somebody_is_asked_for_again() -> None:
    place = Place()
    first, second = place.client(), place.client()
    held = Lock(first, "stock", ttl=60).acquire()

    def delete() -> None:
        for key in keys(place):
            if key != held.key:
                place.server.machine.store.delete(key)
                place.server.machine.lessor.detach(key)
        place.server.machine.store.commit()

    second.while_waiting += [delete, lambda: held.release() and None]
    after = Lock(second, "stock").acquire()
    assert keys(place) == [after.key]


# --- other keys under the name


def test_gos_keys_are_contenders() -> None:
    place = Place()
    place.server.txn(Txn(then=(Put(b"stock/694d7a1f72b64ed0"),)))
    lock = Lock(place.client(), "stock")
    assert lock.try_acquire() is None
    holder = lock.holder()
    assert holder is not None
    assert holder.key == b"stock/694d7a1f72b64ed0"


@pytest.mark.parametrize(
    "key", [b"stock/config", b"stock/a/694d7a1f72b64ed0", b"stock/", b"stock/UPPER", b"stock/1-2-3"]
)
def test_other_keys_do_not_block_and_are_told_once(key: bytes, caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    place.server.txn(Txn(then=(Put(key),)))
    lock = Lock(place.client(), "stock")
    with caplog.at_level(logging.WARNING, logger="coord.lock"):
        for _ in range(3):
            with lock:
                assert len(lock.contenders()) == 1
    assert len(caplog.records) == 1
    assert repr(key) in caplog.text


def test_a_stranger_between_two_contenders_does_not_hide_the_first() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    place.server.txn(Txn(then=(Put(b"stock/config"),)))
    second = place.client()
    assert Lock(second, "stock").try_acquire() is None
    second.while_waiting.append(lambda: held.release() and None)
    assert Lock(second, "stock").acquire().state is LeaseState.HELD


# --- who is there


def test_contenders_stand_in_order_and_say_who_they_are() -> None:
    place = Place()
    first, second = place.client(), place.client()
    lock = Lock(first, "stock")
    held = lock.acquire()
    seen: list[Any] = []
    second.while_waiting.append(lambda: seen.append(lock.contenders()))
    with pytest.raises(LockTimeout):
        Lock(second, "stock", timeout=1).acquire()
    holder, waiter = seen[0]
    assert [holder.position, waiter.position] == [0, 1]
    assert holder.key == held.key
    assert holder.create_revision == held.fence
    assert holder.lease == held.lease
    assert holder.owner.pid == os.getpid()
    assert holder.owner.task == threading.current_thread().name
    assert holder.owner.since > 1_600_000_000
    assert str(os.getpid()) in str(holder.owner)


def test_nobody_holds_a_free_lock() -> None:
    lock = Lock(Place().client(), "stock")
    assert lock.holder() is None
    assert lock.contenders() == []


def test_the_stored_owner_is_json() -> None:
    place = Place()
    held = Lock(place.client(), "stock").acquire()
    stored = place.server.range(Get(held.key)).items[0].value
    assert set(json.loads(stored)) == {"host", "pid", "task", "since", "client"}


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
