"""The re-entrant lock on a port without network, on both faces."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from coord.errors import LockLost, LockTimeout, UsageError
from coord.model import LeaseState
from coord.recipes.locks.lock import Lock
from coord.recipes.locks.rlock import AsyncRLock, RLock
from tests.unit.recipes.direct import DirectPort, Place


def keys(place: Place) -> list[bytes]:
    return sorted(place.server.keys(b"stock/"))


def in_thread(work: Callable[[], Any]) -> Any:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(work()))
    thread.start()
    thread.join(10)
    return outcome[0]


def test_an_owner_may_take_again_what_it_holds() -> None:
    place = Place()
    client = place.client()
    lock = RLock(client, "stock")
    with lock as outer:
        client.requests.clear()
        with lock as inner, RLock(client, "stock") as innermost:
            assert inner.fence == outer.fence == innermost.fence
            assert inner is not outer
            assert innermost.depth == 3
            assert not client.requests, "it costs no request"
        assert keys(place) == [outer.key]
        assert outer.state is LeaseState.HELD
        assert outer.depth == 1
    assert keys(place) == []


def test_it_takes_two_requests() -> None:
    client = Place().client()
    RLock(client, "stock").acquire().release()
    client.requests.clear()
    RLock(client, "stock").acquire().release()
    assert len(client.requests) == 2


def test_the_last_release_frees_it_in_whatever_order() -> None:
    place = Place()
    lock = RLock(place.client(), "stock")
    outer, inner = lock.acquire(), lock.acquire()
    assert outer.release() is True
    assert outer.release() is False, "a second release takes nothing from the others"
    assert keys(place) == [inner.key]
    assert inner.state is LeaseState.HELD
    assert inner.release() is True
    assert keys(place) == []


def test_another_thread_is_another_owner() -> None:
    place = Place()
    lock = RLock(place.client(), "stock")
    with lock:
        assert in_thread(lock.try_acquire) is None
    other = in_thread(lock.acquire)
    assert lock.try_acquire() is None, "it belongs to a thread that has ended, until its guard is given back"
    other.release()
    with lock:
        pass


def test_a_given_owner_is_the_same_in_all_threads_of_a_client() -> None:
    place = Place()
    client = place.client()
    mine = RLock(client, "stock", owner="job-7").acquire()
    theirs = in_thread(RLock(client, "stock", owner="job-7").acquire)
    assert theirs.fence == mine.fence
    assert RLock(client, "stock", owner="job-8").try_acquire() is None
    assert RLock(client, "stock").try_acquire() is None
    mine.release()
    assert keys(place) == [theirs.key]
    theirs.release()
    assert keys(place) == []


def test_threads_of_one_owner_that_ask_at_once_get_one_place() -> None:
    """Without a gate both would queue, and the second wait for the first."""
    place = Place()
    busy = Lock(place.client(), "stock").acquire()
    client = place.client()
    lock = RLock(client, "stock", owner="job-7", timeout=5)
    second: list[Any] = []
    thread = threading.Thread(target=lambda: second.append(lock.acquire()))

    def meanwhile() -> None:
        assert lock.try_acquire() is None, "who does not wait is told that another waits in its name"
        thread.start()
        busy.release()

    client.while_waiting.append(meanwhile)
    first = lock.acquire()
    thread.join(10)
    assert second[0].fence == first.fence
    assert keys(place) == [first.key]


def test_re_entrance_is_per_client() -> None:
    place = Place()
    with RLock(place.client(), "stock", owner="job-7"):
        assert RLock(place.client(), "stock", owner="job-7").try_acquire() is None


def test_to_others_it_is_the_lock_of_that_name() -> None:
    place = Place()
    client = place.client()
    lock = RLock(client, "stock", owner="job-7")
    with lock, lock:
        assert Lock(client, "stock").try_acquire() is None
        assert [each.owner.task for each in lock.contenders()] == ["job-7"]
        holder = lock.holder()
        assert holder is not None
        assert holder.holds
    with Lock(client, "stock"), pytest.raises(LockTimeout):
        RLock(client, "stock", timeout=1).acquire()


def test_what_was_lost_is_not_entered_again() -> None:
    place = Place()
    client = place.client()
    lock = RLock(client, "stock")
    outer = lock.acquire()
    client.lose()
    with pytest.raises(LockLost, match="lost while it was held") as caught:
        lock.acquire()
    assert caught.value.cause == "unreachable"
    assert caught.value.fence == outer.fence
    outer.release()
    with lock as again:
        assert again.fence > outer.fence


def test_every_block_tells_of_the_loss() -> None:
    client = Place().client()
    lock = RLock(client, "stock")
    seen: list[str] = []

    def nested() -> None:
        with lock:
            try:
                with lock:
                    client.lose()
            except LockLost:
                seen.append("inner")
                raise

    with pytest.raises(LockLost):
        nested()
    assert seen == ["inner"]


def test_dropped_guards_give_it_back_with_the_last_one() -> None:
    place = Place()
    client = place.client()
    lock = RLock(client, "stock")
    outer, inner = lock.acquire(), lock.acquire()
    del outer
    gc.collect()
    client.keep()
    assert keys(place) == [inner.key]
    assert inner.depth == 1
    del inner
    gc.collect()
    client.keep()
    assert keys(place) == []


@pytest.mark.parametrize("owner", ["", 7, b"job"])
def test_owners_that_are_none(owner: object) -> None:
    client: DirectPort = Place().client()
    for face in (RLock, AsyncRLock):
        with pytest.raises(UsageError, match="owner is a text"):
            face(client, "stock", owner=owner)  # type: ignore[arg-type]  # a mistake


def test_forms() -> None:
    client = Place().client()
    assert repr(RLock(client, "stock")) == "<RLock 'stock' ttl=10>"
    assert repr(RLock(client, "stock", owner="me")) == "<RLock 'stock' owner='me' ttl=10>"


def test_the_asyncio_face() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        lock = AsyncRLock(client, "stock")
        async with lock as outer, lock as inner:
            assert inner.fence == outer.fence
            assert inner.depth == 2
            assert await asyncio.create_task(lock.try_acquire()) is None, "another task is another owner"
        assert keys(place) == []
        named = AsyncRLock(client, "stock", owner="job-7")
        async with named as mine:
            theirs = await asyncio.create_task(named.acquire())
            assert theirs.fence == mine.fence
        assert keys(place) == [theirs.key]
        await theirs.release()
        assert keys(place) == []

    asyncio.run(program())


def test_a_loss_ends_all_blocks_of_a_task_with_one_error() -> None:
    async def program() -> None:
        client = Place().client()
        lock = AsyncRLock(client, "stock")

        async def nested() -> None:
            async with lock, lock:
                client.lose()
                await asyncio.sleep(3600)

        with pytest.raises(LockLost):
            await nested()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(program())


def test_tasks_of_one_owner_wait_for_each_other_at_the_gate() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        lock = AsyncRLock(client, "stock", owner="job-7")
        going, go = asyncio.Event(), asyncio.Event()
        plain = client._commit

        async def commit(request: Any, *, deadline: float | None) -> Any:
            going.set()
            await go.wait()
            return await plain(request, deadline=deadline)

        client._commit = commit  # type: ignore[method-assign]  # an answer that takes its time
        first = asyncio.create_task(lock.acquire())
        await going.wait()
        assert await lock.try_acquire() is None
        with pytest.raises(LockTimeout, match="by its owner elsewhere"):
            await lock.acquire(timeout=0.01)
        second = asyncio.create_task(lock.acquire())
        go.set()
        assert (await first).fence == (await second).fence

    asyncio.run(program())
