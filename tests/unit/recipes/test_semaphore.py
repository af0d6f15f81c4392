"""The semaphore on a port without network, on both faces."""

from __future__ import annotations

import asyncio

import pytest

from coord.errors import LockTimeout, OutcomeUnknown, UsageError
from coord.ops import Delete, Get, Put, Txn
from coord.recipes.locks.permits import parse_count
from coord.recipes.locks.semaphore import AsyncSemaphore, Semaphore
from tests.unit.recipes.direct import DirectPort, Place


def places(place: Place) -> list[bytes]:
    return place.server.keys(b"pool/sem/p/")


def stored(place: Place) -> bytes:
    return place.server.range(Get(b"pool/sem/permits")).items[0].value


def test_as_many_as_there_are_permits() -> None:
    place = Place()
    pool = Semaphore(place.client(), "pool", 2)
    with pool as one, Semaphore(place.client(), "pool", 2) as two:
        assert two.fence > one.fence
        assert pool.try_acquire() is None
        assert [each.holds for each in pool.contenders()] == [True, True]
        assert {each.mode for each in pool.contenders()} == {"permit"}
    assert places(place) == []
    assert stored(place) == b"2"
    assert repr(one).startswith("<Permit 'pool' RELEASED")


def test_any_holder_that_goes_lets_the_first_waiter_in() -> None:
    for leaver in (0, 1):
        place = Place()
        holders = [Semaphore(place.client(), "pool", 2).acquire() for _ in range(2)]
        client = place.client()
        client.while_waiting.append(lambda leaver=leaver, holders=holders: holders[leaver].release())  # type: ignore[misc]  # mypy cannot infer a default's type
        held = Semaphore(client, "pool", 2).acquire()
        assert held.fence > holders[1].fence


def test_requests() -> None:
    place = Place()
    client = place.client()
    pool = Semaphore(client, "pool", 2)
    pool.acquire().release()
    client.requests.clear()
    held = [pool.acquire(), pool.acquire()]
    assert len(client.requests) == 2
    waiter = place.client()
    Semaphore(waiter, "other", 1).acquire().release()
    waiter.requests.clear()
    waiter.while_waiting.append(lambda: held[0].release())
    Semaphore(waiter, "pool", 2).acquire().release()
    # Its claim, a look, a look after the wait, its release: nobody stands behind it who must be told.
    assert len(waiter.requests) == 4


def test_a_waiter_tells_the_one_behind_it() -> None:
    place = Place()
    held = Semaphore(place.client(), "pool", 1).acquire()
    behind, front = place.client(), place.client()
    seen: list[int] = []

    def come_behind() -> None:
        with pytest.raises(LockTimeout):
            Semaphore(behind, "pool", 1, timeout=0).acquire()
        # One that stays: put there by hand, as a client would.
        place.server.txn(Txn(then=(Put(b"pool/sem/p/1-1"),)))
        held.release()

    front.while_waiting.append(come_behind)
    got = Semaphore(front, "pool", 1).acquire()
    item = place.server.range(Get(got.key)).items[0]
    seen.append(item.version)
    assert seen == [2]
    assert item.create_revision == got.fence
    assert item.lease == got.lease
    assert item.value, "the value is kept"


def test_another_number_is_refused_and_says_what_is_stored() -> None:
    place = Place()
    Semaphore(place.client(), "pool", 3).acquire().release()
    with pytest.raises(UsageError, match="has 3 permits, not 5") as caught:
        Semaphore(place.client(), "pool", 5).acquire()
    assert (caught.value.stored, caught.value.asked) == (3, 5)
    with pytest.raises(UsageError):
        Semaphore(place.client(), "pool", 5).try_acquire()
    assert places(place) == []


def test_resize_changes_it_for_everybody() -> None:
    place = Place()
    pool, old = Semaphore(place.client(), "pool", 1), Semaphore(place.client(), "pool", 1)
    with pool:
        pool.resize(2)
        assert pool.permits == 2
        with pool:
            assert pool.try_acquire() is None
        with pytest.raises(UsageError):
            old.acquire()
        old.resize(2)
        old.acquire().release()
    assert stored(place) == b"2"


def test_resize_before_the_first_use() -> None:
    place = Place()
    Semaphore(place.client(), "pool", 7).resize(3)
    assert stored(place) == b"3"


@pytest.mark.parametrize("happened", [True, False])
def test_a_resize_without_an_answer_is_made_once(happened: bool) -> None:
    place = Place()
    client = place.client()
    Semaphore(client, "pool", 1).acquire().release()
    plain = client._commit
    lost = [True]

    async def commit(request: Txn, *, deadline: float | None) -> object:
        if lost and request.writes:
            lost.clear()
            if happened:
                await plain(request, deadline=deadline)
            raise OutcomeUnknown("lost")
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[assignment,method-assign]  # the network between
    Semaphore(client, "pool", 1).resize(4)
    item = place.server.range(Get(b"pool/sem/permits")).items[0]
    assert (item.value, item.version) == (b"4", 2)


def test_a_waiter_hears_of_more_permits() -> None:
    place = Place()
    held = Semaphore(place.client(), "pool", 1).acquire()
    client = place.client()
    client.while_waiting.append(lambda: Semaphore(place.client(), "pool", 1).resize(2))
    assert Semaphore(client, "pool", 1).acquire().fence > held.fence


def test_after_the_number_was_lowered_a_newcomer_waits_for_enough_to_go() -> None:
    place = Place()
    holders = [Semaphore(place.client(), "pool", 3).acquire() for _ in range(3)]
    Semaphore(place.client(), "pool", 3).resize(1)
    client = place.client()
    client.while_waiting += [lambda at=at: holders[at].release() for at in (0, 2, 1)]  # type: ignore[misc]  # as above
    held = Semaphore(client, "pool", 1).acquire()
    assert places(place) == [held.key]


def test_a_stored_number_that_was_deleted_is_stored_again() -> None:
    place = Place()
    with Semaphore(place.client(), "pool", 1) as held:
        place.server.txn(Txn(then=(Delete(b"pool/sem/permits"),)))
        assert Semaphore(place.client(), "pool", 1).try_acquire() is None
        assert stored(place) == b"1"
        assert places(place) == [held.key]


def test_a_stored_number_that_is_none_is_told() -> None:
    place = Place()
    place.server.put(b"pool/sem/permits", b"many")
    with pytest.raises(UsageError, match="has many permits"):
        Semaphore(place.client(), "pool", 1).acquire()
    assert (parse_count(b"many"), parse_count(b"12"), parse_count(b"")) == (0, 12, 0)


def test_other_keys_count_for_nothing() -> None:
    place = Place()
    place.server.put(b"pool/sem/p/config", b"")
    pool = Semaphore(place.client(), "pool", 1)
    with pool:
        assert pool.try_acquire() is None
        assert len(pool.contenders()) == 1


@pytest.mark.parametrize("permits", [0, -1, 10_001, True, 1.5, "3", None])
def test_a_number_that_is_none(permits: object) -> None:
    client: DirectPort = Place().client()
    with pytest.raises(UsageError, match="permits is a whole number"):
        Semaphore(client, "pool", permits)  # type: ignore[arg-type]  # a mistake
    with pytest.raises(UsageError):
        Semaphore(client, "pool", 1).resize(permits)  # type: ignore[arg-type]  # a mistake


def test_the_asyncio_face() -> None:
    async def program() -> None:
        place = Place()
        pool = AsyncSemaphore(place.client(), "pool", 2)
        async with pool, pool as held:
            await held.put("k", "v")
            assert await pool.try_acquire() is None
            assert [each.holds for each in await pool.contenders()] == [True, True]
            await pool.resize(3)
            async with pool:
                assert pool.permits == 3
        assert places(place) == []

    asyncio.run(program())
