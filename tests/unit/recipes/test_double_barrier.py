"""The double barrier on a port without network, on both faces."""

from __future__ import annotations

import asyncio

import pytest

from coord.errors import CallTimeout, LeaseLost, NotOwner, UsageError
from coord.ops import Delete, Get, Txn
from coord.recipes.barriers.double_barrier import AsyncDoubleBarrier, DoubleBarrier
from tests.unit.recipes.direct import Place, Stuck

PLACES = b"round/double/"


def places(place: Place) -> list[bytes]:
    return place.server.keys(PLACES)


def others_come(place: Place, value: bytes = b"waits for 2") -> None:
    """Another member, put there by hand as a client would."""
    place.server.put(PLACES + b"1-1", value)


def others_leave(place: Place) -> None:
    place.server.txn(Txn(then=(Delete(PLACES + b"1-1"),)))


def test_enters_with_another_and_leaves_after_it() -> None:
    place = Place()
    client = place.client()
    others_come(place)
    member = DoubleBarrier(client, "round", 2)
    member.enter(timeout=0)
    values = {item.value for item in place.server.range(Get(PLACES, PLACES[:-1] + b"0")).items}
    assert len(values) == 1
    assert values.pop().startswith(b"in with ")
    with pytest.raises(UsageError, match="entered already"):
        member.enter()
    client.while_waiting.append(lambda: others_leave(place))
    member.leave()
    assert places(place) == []
    with pytest.raises(NotOwner):
        member.leave()


def test_waits_until_the_last_one_lets_it_in() -> None:
    place = Place()
    first, second = place.client(), place.client()
    last = DoubleBarrier(second, "round", 2)
    first.while_waiting.append(last.enter)
    member = DoubleBarrier(first, "round", 2)
    member.enter()
    with pytest.raises(CallTimeout, match="double barrier 'round'"):
        member.leave(timeout=3)
    last.leave()
    assert places(place) == []


def test_who_gives_up_leaves_no_key() -> None:
    place = Place()
    member = DoubleBarrier(place.client(), "round", 2, timeout=3)
    began = place.clock.now()
    with pytest.raises(CallTimeout):
        member.enter()
    assert place.clock.now() == began + 3
    with pytest.raises(CallTimeout):
        member.enter(timeout=0)
    with pytest.raises(Stuck):
        member.enter(timeout=None)
    assert places(place) == []


def test_a_member_that_is_not_ready_is_not_counted() -> None:
    place = Place()
    others_come(place, b"")
    with pytest.raises(CallTimeout):
        DoubleBarrier(place.client(), "round", 2).enter(timeout=1)


def test_another_number_is_refused() -> None:
    place = Place()
    others_come(place, b"waits for 3")
    with pytest.raises(UsageError, match="3 parties, not 2") as caught:
        DoubleBarrier(place.client(), "round", 2).enter()
    assert (caught.value.stored, caught.value.asked) == ("3", 2)
    assert places(place) == [PLACES + b"1-1"]


def test_a_lost_lease_is_told() -> None:
    place = Place()
    client = place.client()
    others_come(place)
    member = DoubleBarrier(client, "round", 2)
    member.enter()
    client.lose()
    with pytest.raises(LeaseLost):
        member.leave()
    client.while_waiting.append(client.lose)
    with pytest.raises(LeaseLost):
        DoubleBarrier(client, "round", 3).enter()


def test_a_place_deleted_by_hand_is_told() -> None:
    place = Place()
    client = place.client()
    client.while_waiting.append(lambda: place.server.txn(Txn(then=(Delete(places(place)[0]),))))
    with pytest.raises(LeaseLost, match="the place in it is gone"):
        DoubleBarrier(client, "round", 2).enter()


def test_an_error_in_the_block_waits_for_nobody() -> None:
    place = Place()
    others_come(place)
    with pytest.raises(ZeroDivisionError), DoubleBarrier(place.client(), "round", 2):
        raise ZeroDivisionError
    assert places(place) == [PLACES + b"1-1"]


def test_requests() -> None:
    place = Place()
    client = place.client()
    DoubleBarrier(client, "other", 1).enter()
    client.requests.clear()
    member = DoubleBarrier(client, "round", 1)
    member.enter()
    # Its key, that it waits, who is there, letting in, and a look.
    assert len(client.requests) == 5
    client.requests.clear()
    member.leave()
    assert len(client.requests) == 2


def test_wrong_arguments() -> None:
    client = Place().client()
    for parties in (0, 101, True, "2"):
        with pytest.raises(UsageError):
            DoubleBarrier(client, "round", parties)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError):
        DoubleBarrier(client, "", 2)
    with pytest.raises(UsageError):
        DoubleBarrier(client, "round", 2, timeout=-1)
    assert repr(DoubleBarrier(client, "round", 2)) == "<DoubleBarrier 'round' parties=2 ttl=10>"


def test_asyncio() -> None:
    async def main() -> None:
        place = Place()
        client = place.client()
        others_come(place)
        async with AsyncDoubleBarrier(client, "round", 2) as member:
            assert member.parties == 2
            client.while_waiting.append(lambda: others_leave(place))
        assert places(place) == []
        others_come(place)
        with pytest.raises(ZeroDivisionError):
            async with AsyncDoubleBarrier(client, "round", 2):
                raise ZeroDivisionError
        assert places(place) == [PLACES + b"1-1"]

    asyncio.run(main())
