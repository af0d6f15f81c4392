"""The latch on a port without network, on both faces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coord.errors import CallTimeout, OutcomeUnknown, UsageError
from coord.ops import Get, Txn
from coord.recipes.barriers.latch import AsyncLatch, Latch
from tests.unit.recipes.direct import DirectPort, Place, Stuck

NUMBER = b"ready/latch/count"
DONE = b"ready/latch/done"


def stored(place: Place) -> list[bytes]:
    return place.server.keys(b"ready/latch/")


def test_counted_down_to_zero_and_no_further() -> None:
    place = Place()
    latch, other = Latch(place.client(), "ready", 3), Latch(place.client(), "ready", 3)
    assert latch.count() == 3
    assert latch.count_down() == 2
    with pytest.raises(CallTimeout, match="latch 'ready'"):
        latch.wait(timeout=0)
    assert stored(place) == [NUMBER]
    assert other.count_down(5) == 0
    latch.wait(timeout=0)
    assert other.count_down() == 0
    assert latch.count() == 0
    assert sorted(stored(place)) == [NUMBER, DONE]
    assert place.server.range(Get(NUMBER)).items[0].value == b"0 of 3"
    assert repr(latch) == "<Latch 'ready' of 3>"


def test_a_waiter_hears_of_the_last_step_alone() -> None:
    place = Place()
    counter, client = Latch(place.client(), "ready", 2), place.client()
    client.while_waiting += [counter.count_down, counter.count_down]
    Latch(client, "ready", 2).wait()
    assert client.requests == [Get(NUMBER), Get(DONE)]


def test_requests() -> None:
    place = Place()
    client = place.client()
    Latch(client, "other", 1).count_down()
    client.requests.clear()
    Latch(client, "ready", 2).count_down()
    assert len(client.requests) == 3


def test_another_count_is_refused() -> None:
    place = Place()
    Latch(place.client(), "ready", 3).count_down()
    other = Latch(place.client(), "ready", 2)
    for call in (other.count_down, other.wait, other.count):
        with pytest.raises(UsageError, match="begun with 3, not 2") as caught:
            call()
        assert (caught.value.stored, caught.value.asked) == (3, 2)
    assert stored(place) == [NUMBER]


def loses_answers(client: DirectPort, place: Place, done: list[bool]) -> None:
    """Have the answers of the next claims lost, of those that are done and of those that are not."""
    plain = client._commit

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if done and request.writes:
            if done.pop(0):
                place.server.txn(request)
            raise OutcomeUnknown("lost")
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # answers are lost


@pytest.mark.parametrize("done", [[True], [False], [False, True], [False, False]])
def test_counted_once_though_answers_are_lost(done: list[bool]) -> None:
    place = Place()
    client = place.client()
    loses_answers(client, place, list(done))
    assert Latch(client, "ready", 3).count_down() == 2
    assert place.server.range(Get(NUMBER)).items[0].value == b"2 of 3"
    assert stored(place) == [NUMBER]


def test_what_cannot_be_known_is_said() -> None:
    place = Place()
    client = place.client()
    loses_answers(client, place, [False] * 100)
    with pytest.raises(OutcomeUnknown):
        Latch(client, "ready", 3).count_down(timeout=2)


def test_a_revoked_lease_is_no_failure() -> None:
    place = Place()
    client = place.client()
    latch = Latch(client, "ready", 3)
    latch.count_down()
    place.server.revoke(client.sessions()[0].lease)
    assert latch.count_down() == 1


def test_wrong_arguments() -> None:
    place = Place()
    client = place.client()
    for count in (0, -1, True, 1.5, "3"):
        with pytest.raises(UsageError):
            Latch(client, "ready", count)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError):
        Latch(client, "", 1)
    with pytest.raises(UsageError):
        Latch(client, "ready", 1).count_down(0)
    with pytest.raises(Stuck):
        Latch(client, "ready", 1).wait()


def test_asyncio() -> None:
    async def main() -> None:
        place = Place()
        latch, client = AsyncLatch(place.client(), "ready", 2), place.client()
        assert await latch.count_down() == 1
        with pytest.raises(CallTimeout):
            await latch.wait(timeout=1)
        client.while_waiting.append(lambda: Latch(place.client(), "ready", 2).count_down())
        await AsyncLatch(client, "ready", 2).wait()
        assert await latch.count() == 0

    asyncio.run(main())
