"""The read/write lock on a port without network, on both faces."""

from __future__ import annotations

import asyncio
import logging

import pytest

from coord.errors import LockTimeout, UsageError
from coord.model import KeyValue, LeaseState
from coord.ops import Put, Txn
from coord.recipes.locks.contender import sharing
from coord.recipes.locks.lock import Lock
from coord.recipes.locks.rwlock import AsyncRWLock, RWLock
from tests.unit.recipes.direct import Place, Stuck


def keys(place: Place) -> list[bytes]:
    return sorted(place.server.keys(b"stock/"))


def test_many_read_together_and_a_writer_is_alone() -> None:
    place = Place()
    one, other = RWLock(place.client(), "stock"), RWLock(place.client(), "stock")
    with one.read() as first, other.read() as second:
        assert first.state is second.state is LeaseState.HELD
        assert one.write().try_acquire() is None
        other.read().acquire(timeout=0).release()
    with one.write() as held:
        assert held.fence > second.fence
        assert one.read().try_acquire() is None
        assert other.write().try_acquire() is None
    assert keys(place) == []


def test_the_keys_have_a_kind() -> None:
    place = Place()
    lock = RWLock(place.client(), "stock")
    reader = lock.read().acquire()
    assert reader.key.startswith(b"stock/rw/r/%x-" % reader.lease)
    reader.release()
    writer = lock.write().acquire()
    assert writer.key.startswith(b"stock/rw/w/%x-" % writer.lease)


def test_each_side_takes_two_requests_uncontended() -> None:
    client = Place().client()
    lock = RWLock(client, "stock")
    lock.read().acquire().release()
    for side in (lock.read(), lock.write()):
        client.requests.clear()
        side.acquire().release()
        assert len(client.requests) == 2
    with lock.read():
        client.requests.clear()
        lock.read().acquire().release()
        assert len(client.requests) == 2, "other readers cost a reader nothing"


def test_a_reader_waits_for_a_writer_that_waits() -> None:
    """Else a writer would wait for as long as new readers come."""
    place = Place()
    reader = RWLock(place.client(), "stock").read().acquire()
    waiting, late = place.client(), RWLock(place.client(), "stock")
    refused: list[object] = []
    waiting.while_waiting += [lambda: refused.append(late.read().try_acquire()), lambda: reader.release()]
    writer = RWLock(waiting, "stock").write().acquire()
    assert refused == [None]
    assert writer.state is LeaseState.HELD


def test_a_writer_waits_for_the_last_reader() -> None:
    place = Place()
    readers = [RWLock(place.client(), "stock").read().acquire() for _ in range(3)]
    client = place.client()
    client.while_waiting += [
        lambda: readers[2].release(),
        lambda: readers[0].release(),
        lambda: readers[1].release(),
    ]
    lock = RWLock(client, "stock")
    with lock.write():
        assert [each.mode for each in lock.contenders()] == ["write"]
    with pytest.raises(Stuck), lock.read():
        lock.write().acquire()


def test_timeouts_leave_no_key() -> None:
    place = Place()
    held = RWLock(place.client(), "stock").write().acquire()
    for side in (RWLock(place.client(), "stock").read(), RWLock(place.client(), "stock", timeout=2).write()):
        with pytest.raises(LockTimeout):
            side.acquire(timeout=1)
    assert keys(place) == [held.key]


def test_it_has_nothing_to_do_with_the_lock_of_that_name(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    with caplog.at_level(logging.WARNING, logger="coord.lock"):
        with RWLock(place.client(), "stock").write(), Lock(place.client(), "stock") as held:
            assert held.state is LeaseState.HELD
            assert len(Lock(place.client(), "stock").contenders()) == 1
        assert not caplog.records
        place.server.txn(Txn(then=(Put(b"stock/rw/config"),)))
        with RWLock(place.client(), "stock").write():
            pass
    assert "stock/rw/config" in caplog.text


def test_contenders_tell_mode_and_who_is_in() -> None:
    items = [KeyValue(b"n/rw/%s/1-%d" % (kind, at), b"", at, at, 1, 1) for at, kind in enumerate(b"r r w r".split(), 5)]
    assert [(each.position, each.mode, each.holds) for each in sharing(b"n", items)] == [
        (0, "read", True),
        (1, "read", True),
        (2, "write", False),
        (3, "read", False),
    ]
    assert [each.holds for each in sharing(b"n", items[2:])] == [True, False]


def test_arguments_and_forms() -> None:
    client = Place().client()
    lock = RWLock(client, "stock", ttl=5)
    assert repr(lock) == "<RWLock 'stock'>"
    assert repr(lock.read()) == "<ReadLock 'stock' ttl=5>"
    with pytest.raises(UsageError):
        RWLock(client, "")
    with pytest.raises(UsageError):
        RWLock(client, "stock", ttl=0)


def test_the_asyncio_face() -> None:
    async def program() -> None:
        place = Place()
        lock, other = AsyncRWLock(place.client(), "stock"), AsyncRWLock(place.client(), "stock")
        async with lock.read() as one, other.read() as two:
            assert two.fence > one.fence
            assert await lock.write().try_acquire() is None
            assert [each.holds for each in await lock.contenders()] == [True, True]
        async with lock.write() as held:
            await held.put("k", "v")
            with pytest.raises(LockTimeout):
                await other.read().acquire(timeout=1)
        assert keys(place) == []
        assert repr(lock) == "<AsyncRWLock 'stock'>"

    asyncio.run(program())
