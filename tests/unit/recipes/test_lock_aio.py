"""The asyncio lock on a port without network."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from coord.errors import LockLost, LockTimeout, NotOwner
from coord.model import LeaseState
from coord.ops import Get
from coord.recipes.locks.lock import AsyncLock
from coord.recipes.ownership.held import AsyncHeld
from tests.unit.recipes.direct import DirectPort, Place


def run(program: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await program

    return asyncio.run(bounded())


def keys(place: Place) -> list[bytes]:
    return sorted(place.server.keys(b"stock/"))


def lose_from_a_thread(client: DirectPort) -> None:
    """Losses come from the keeper's thread."""
    thread = threading.Thread(target=client.lose)
    thread.start()
    thread.join()


async def turns(count: int = 5) -> None:
    """Let the loop run what is scheduled."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_block_holds_the_lock_and_gives_it_back() -> None:
    async def program() -> None:
        place = Place()
        async with AsyncLock(place.client(), "stock") as held:
            assert keys(place) == [held.key]
            assert held.state is LeaseState.HELD
            await held.put("k", "v")
            assert place.server.range(Get(b"k")).items[0].value == b"v"
            assert (await held.txn().get("k").commit()).range(0).count == 1
        assert keys(place) == []

    run(program())


def test_the_owner_is_the_task() -> None:
    async def program() -> None:
        lock = AsyncLock(Place().client(), "stock")
        task = asyncio.current_task()
        assert task is not None
        task.set_name("packer")
        async with lock:
            holder = await lock.holder()
            assert holder is not None
            assert holder.owner.task == "packer"
        assert await lock.contenders() == []

    run(program())


def test_two_tasks_exclude_each_other() -> None:
    async def program() -> None:
        lock = AsyncLock(Place().client(), "stock")
        async with lock:
            assert await asyncio.create_task(lock.try_acquire()) is None
        held = await asyncio.create_task(lock.try_acquire())
        assert isinstance(held, AsyncHeld)

    run(program())


def test_timeouts_and_second_releases() -> None:
    async def program() -> None:
        place = Place()
        held = await AsyncLock(place.client(), "stock").acquire()
        with pytest.raises(LockTimeout):
            await AsyncLock(place.client(), "stock", timeout=2).acquire()
        assert keys(place) == [held.key]
        assert await held.release() is True
        assert await held.release() is False
        with pytest.raises(NotOwner):
            held.check()

    run(program())


def test_a_loss_cancels_the_block_and_becomes_lock_lost() -> None:
    async def program() -> None:
        with pytest.raises(LockLost) as caught:
            await _hold(Place().client())
        assert caught.value.cause == "unreachable"
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "the cancellation was ours and is used up"
        await turns()

    run(program())


def test_a_cancellation_of_somebody_else_passes() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        entered = asyncio.Event()

        async def body() -> None:
            async with AsyncLock(client, "stock"):
                entered.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(body())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert keys(place) == []

    run(program())


@pytest.mark.parametrize("loss_first", [True, False])
def test_both_cancellations_at_once_are_a_cancellation(loss_first: bool) -> None:
    async def program() -> None:
        client = Place().client()
        entered = asyncio.Event()

        async def body() -> None:
            async with AsyncLock(client, "stock"):
                entered.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(body())
        await entered.wait()
        if loss_first:
            lose_from_a_thread(client)
            await asyncio.sleep(0)
        task.cancel()
        if not loss_first:
            lose_from_a_thread(client)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(program())


def test_a_timeout_around_the_block_stays_a_timeout() -> None:
    async def program() -> None:
        place = Place()
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01), AsyncLock(place.client(), "stock"):
                await asyncio.sleep(3600)
        assert not isinstance(caught.value, LockTimeout)
        assert keys(place) == []

    run(program())


def test_a_loss_inside_of_a_task_group_ends_the_group() -> None:
    async def program() -> None:
        client = Place().client()
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(_hold(client))
        assert caught.group_contains(LockLost)

    run(program())


async def _hold(client: DirectPort) -> None:
    async with AsyncLock(client, "stock"):
        lose_from_a_thread(client)
        await asyncio.sleep(3600)
        raise AssertionError("the body went on after the loss")


def test_a_block_that_swallows_the_cancellation_raises_all_the_same() -> None:
    async def program() -> None:
        client = Place().client()

        async def swallow() -> None:
            async with AsyncLock(client, "stock"):
                lose_from_a_thread(client)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        with pytest.raises(LockLost):
            await swallow()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(program())


def test_an_error_of_the_block_is_not_hidden() -> None:
    async def program() -> None:
        client = Place().client()

        async def fail() -> None:
            async with AsyncLock(client, "stock"):
                lose_from_a_thread(client)
                try:
                    await asyncio.sleep(3600)
                finally:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(program())


def test_a_loss_noticed_at_the_end_of_the_block_raises() -> None:
    async def program() -> None:
        client = Place().client()
        with pytest.raises(LockLost):
            async with AsyncLock(client, "stock"):
                lose_from_a_thread(client)  # the loop has not run since

        await turns()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "nothing may be cancelled after the block"

    run(program())


def test_a_loss_after_the_block_cancels_nobody() -> None:
    async def program() -> None:
        client = Place().client()
        async with AsyncLock(client, "stock"):
            pass
        lose_from_a_thread(client)
        await turns()

    run(program())


def test_acquire_without_a_block_cancels_nobody() -> None:
    async def program() -> None:
        client = Place().client()
        held = await AsyncLock(client, "stock").acquire()
        waiting = asyncio.create_task(held.lost.wait())
        await turns()
        assert not held.lost.is_set()
        lose_from_a_thread(client)
        assert await waiting is True
        assert held.lost
        await turns()
        with pytest.raises(LockLost):
            held.check()

    run(program())


def test_waiting_for_a_loss_is_bounded() -> None:
    async def program() -> None:
        held = await AsyncLock(Place().client(), "stock").acquire()
        assert await held.lost.wait(0.01) is False
        assert await held.lost.wait(0) is False

    run(program())


def test_a_guard_is_a_block_too() -> None:
    async def program() -> None:
        client = Place().client()
        held = await AsyncLock(client, "stock").acquire()

        async def body() -> None:
            async with held:
                lose_from_a_thread(client)
                await asyncio.sleep(3600)

        with pytest.raises(LockLost):
            await body()

    run(program())


def test_a_write_that_finds_the_key_gone_ends_the_block() -> None:
    async def program() -> None:
        place = Place()

        async def body() -> None:
            async with AsyncLock(place.client(), "stock") as held:
                place.server.revoke(held.lease)
                await held.put("k", "v")

        with pytest.raises(LockLost) as caught:
            await body()
        assert caught.value.cause == "revoked"
        await turns()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(program())


def test_on_lost_is_called_on_the_loop_and_may_be_a_coroutine() -> None:
    async def program() -> None:
        client = Place().client()
        seen: list[Any] = []
        told = asyncio.Event()

        async def on_lost(guard: AsyncHeld) -> None:
            await asyncio.sleep(0)
            seen.append((guard, threading.current_thread()))
            told.set()

        held = await AsyncLock(client, "stock", on_lost=on_lost).acquire()
        other = await AsyncLock(client, "other", on_lost=seen.append).acquire()
        lose_from_a_thread(client)
        await told.wait()
        assert (held, threading.main_thread()) in seen
        assert other in seen

    run(program())


def test_an_on_lost_that_fails_does_not_keep_the_block_going() -> None:
    async def program() -> None:
        client = Place().client()
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))

        def on_lost(_guard: AsyncHeld) -> None:
            raise ValueError("a mistake of the user's")

        async def block() -> None:
            async with AsyncLock(client, "stock", on_lost=on_lost):
                lose_from_a_thread(client)
                await asyncio.Event().wait()

        with pytest.raises(LockLost):
            await block()
        assert [type(each) for each in failures] == [ValueError], "and it is told"

    run(program())


def test_an_interrupted_release_is_finished_by_the_keeper() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        held = await AsyncLock(client, "stock").acquire()

        async def delete(keys: object, deadline: float) -> None:
            await asyncio.sleep(3600)

        client._delete = delete  # type: ignore[method-assign]  # an answer that does not come
        task = asyncio.create_task(held.release())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert keys(place) == [held.key]
        place.clock.advance(1.01)  # the caller's own budget is over
        client.keep()
        assert keys(place) == []

    run(program())


def test_a_loop_that_ended_is_not_told() -> None:
    place = Place()
    client = place.client()
    held: AsyncHeld = run(AsyncLock(client, "stock").acquire())
    client.lose()
    assert held.state is LeaseState.LOST


def test_guards_refuse_pickling() -> None:
    async def program() -> None:
        held = await AsyncLock(Place().client(), "stock").acquire()
        with pytest.raises(TypeError, match="belongs to one process"):
            pickle.dumps(held)

    run(program())


def test_a_block_entered_in_one_task_may_be_left_in_another() -> None:
    """Test fixtures do that."""

    async def program() -> None:
        place = Place()
        lock = AsyncLock(place.client(), "stock")
        await asyncio.create_task(lock.__aenter__())
        assert keys(place)
        await asyncio.create_task(lock.__aexit__(None, None, None))
        assert keys(place) == []

    run(program())
