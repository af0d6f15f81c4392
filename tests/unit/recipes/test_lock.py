"""The blocking lock on a port without network."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from datetime import timedelta
from typing import Any

import pytest

from coord.errors import (
    CallTimeout,
    LockTimeout,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
)
from coord.model import LeaseState
from coord.ops import Get, Put, Txn
from coord.recipes.locks.lock import Lock
from coord.recipes.ownership.held import Held
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
    second.while_waiting.append(lambda: held.release())
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
    place.clock.advance(1.01)  # the caller's own budget is over
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

    second.while_waiting += [delete, lambda: held.release()]
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
    second.while_waiting.append(lambda: held.release())
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
