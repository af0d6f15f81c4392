"""The barrier on a port without network, on both faces."""

from __future__ import annotations

import asyncio

import pytest

from coord.errors import CallTimeout, OutcomeUnknown, UsageError
from coord.ops import Delete, Get, Put, Txn
from coord.recipes.barriers.barrier import AsyncBarrier, Barrier
from tests.unit.recipes.direct import Place, Stuck

KEY = b"gate/barrier"


def test_closed_and_open() -> None:
    place = Place()
    barrier, other = Barrier(place.client(), "gate"), Barrier(place.client(), "gate")
    assert not barrier.closed()
    barrier.wait(timeout=0)
    barrier.close()
    assert other.closed()
    with pytest.raises(CallTimeout, match="barrier 'gate'") as caught:
        other.wait(timeout=0)
    assert caught.value.name == "gate"
    other.open()
    assert not barrier.closed()
    barrier.wait()
    assert repr(barrier) == "<Barrier 'gate'>"


def test_a_waiter_is_let_through_and_asks_once() -> None:
    place = Place()
    operator, client = Barrier(place.client(), "gate"), place.client()
    operator.close()
    client.while_waiting.append(operator.close)
    client.while_waiting.append(operator.open)
    Barrier(client, "gate").wait()
    assert client.requests == [Get(KEY)]


def test_deleted_by_hand_is_open() -> None:
    place = Place()
    client = place.client()
    Barrier(client, "gate").close()
    client.while_waiting.append(lambda: place.server.txn(Txn(then=(Delete(KEY),))))
    Barrier(client, "gate").wait()


def test_an_opening_that_was_closed_again_counts() -> None:
    place = Place()
    operator, client = Barrier(place.client(), "gate"), place.client()
    operator.close()

    def blink() -> None:
        operator.open()
        operator.close()

    client.while_waiting.append(blink)
    Barrier(client, "gate").wait()


def test_timeouts() -> None:
    place = Place()
    client = place.client()
    barrier = Barrier(client, "gate")
    barrier.close()
    began = place.clock.now()
    with pytest.raises(CallTimeout):
        barrier.wait(timeout=3)
    assert place.clock.now() == began + 3
    with pytest.raises(Stuck):
        barrier.wait(timeout=None)
    with pytest.raises(UsageError):
        barrier.wait(timeout=-1)
    with pytest.raises(UsageError):
        Barrier(client, "")


@pytest.mark.parametrize("happened", [True, False])
def test_a_change_without_an_answer_is_made_once(happened: bool) -> None:
    place = Place()
    client = place.client()
    barrier = Barrier(client, "gate")
    plain = client._commit
    lost = [OutcomeUnknown("lost")]

    async def commit(request: Txn, *, deadline: float | None) -> object:
        if lost:
            if happened:
                place.server.txn(request)
            raise lost.pop()
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[assignment]  # one answer is lost
    barrier.close()
    assert barrier.closed()
    assert place.server.range(Get(KEY)).items[0].version == 1


def test_a_late_request_undoes_nothing() -> None:
    place = Place()
    client = place.client()
    barrier = Barrier(client, "gate")
    barrier.close()
    late = client.requests[-1]
    assert late.then == (Put(KEY, b"closed"),)
    barrier.open()
    place.server.txn(late)
    assert not barrier.closed()


def test_asyncio() -> None:
    async def main() -> None:
        place = Place()
        operator, client = AsyncBarrier(place.client(), "gate"), place.client()
        barrier = AsyncBarrier(client, "gate")
        await operator.close()
        assert await barrier.closed()
        with pytest.raises(CallTimeout):
            await barrier.wait(timeout=0)
        blocking = Barrier(place.client(), "gate")
        client.while_waiting.append(blocking.open)
        await barrier.wait()
        await operator.close()
        await operator.open()
        assert not await barrier.closed()

    asyncio.run(main())
