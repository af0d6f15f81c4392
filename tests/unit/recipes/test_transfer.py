"""Passing leadership on, on a port without network."""

from __future__ import annotations

from typing import Any

import pytest

from coord.errors import (
    CallTimeout,
    LeadershipLost,
    NoCandidate,
    NotOwner,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
)
from coord.model import LeaseState
from coord.ops import Delete, Txn
from coord.recipes.elections import handover
from coord.recipes.elections.election import Election
from tests.unit.recipes.direct import Place
from tests.unit.recipes.test_election import Client, Standing, client_of, keys


@pytest.mark.parametrize("by", ["key", "id", "value", "candidate"])
def test_the_target_leads_and_those_in_front_are_asked_to_step_behind(by: str) -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    Standing(place, b"c")
    behind = Standing(place, b"d")
    target = election.candidates()[2]
    chosen: Any = {"key": target.key, "id": target.id, "value": "c", "candidate": target}[by]
    client.requests.clear()
    election.transfer(chosen)
    assert keys(place) == sorted([target.key, behind.key])
    found = election.leader()
    assert found is not None
    assert found.text == "c"
    assert leader.state is LeaseState.LOST
    assert leader.lost
    assert leader.cause == "withdrawn"
    assert len(client.requests) == 4, "the queue, the transaction, the ledger's deletion; and our own look"


def test_of_several_with_one_value_the_first_is_chosen() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    election.campaign("same")
    first = Standing(place, b"same")
    Standing(place, b"same")
    election.transfer("same")
    found = election.leader()
    assert found is not None
    assert found.key == first.key


def test_whoever_leads_already_goes_on() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    leader = election.campaign("a")
    election.transfer("a")
    assert leader.state is LeaseState.HELD


def test_nobody_of_that_name() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    leader = election.campaign("a")
    with pytest.raises(NoCandidate) as caught:
        election.transfer("nobody")
    assert caught.value.name == "cron"
    assert leader.state is LeaseState.HELD
    leader.check()


def test_a_candidate_of_gos_in_front_is_waited_for() -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    place.server.put(b"cron/77", b"go")
    target = Standing(place, b"c")
    with pytest.raises(CallTimeout):
        election.transfer("c", timeout=0)
    before = place.clock.now()
    with pytest.raises(CallTimeout):
        election.transfer("c", timeout=3)
    assert place.clock.now() == pytest.approx(before + 3)
    leader.check()
    client.while_waiting.append(lambda: place.server.txn(Txn(then=(Delete(b"cron/77"),))))
    election.transfer("c", timeout=3)
    assert keys(place) == [target.key]


def test_gos_candidate_may_be_the_target() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    election.campaign("a")
    place.server.put(b"cron/77", b"go")
    election.transfer("go")
    assert keys(place) == [b"cron/77"]


def test_many_in_front_step_behind_in_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "STEP_LIMIT", 3)
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    election.campaign("a")
    for number in range(10):
        Standing(place, b"%d" % number)
    client.requests.clear()
    election.transfer("9")
    assert [len(each.then) for each in client.requests if isinstance(each, Txn) and each.compares] == [3, 3, 4]
    found = election.leader()
    assert found is not None
    assert found.text == "9"
    assert len(keys(place)) == 1


def test_a_transfer_that_was_not_sent_leaves_the_leader() -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    troubled(client, Unavailable("down"), happens=False)
    with pytest.raises(CallTimeout):
        election.transfer("b", timeout=2)
    leader.check()
    assert leader.key in keys(place)


def test_a_refused_transfer_leaves_the_leader() -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    troubled(client, PermissionDenied("no", code=7, text="no"), happens=False)
    with pytest.raises(PermissionDenied):
        election.transfer("b", timeout=2)
    leader.check()


@pytest.mark.parametrize("happens", [True, False])
def test_after_a_lost_answer_it_is_asked_again(happens: bool) -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    target = Standing(place, b"b")
    troubled(client, OutcomeUnknown("lost"), happens=happens, times=1)
    election.transfer("b", timeout=2)
    assert keys(place) == [target.key]
    assert leader.state is LeaseState.LOST


def test_without_any_answer_leadership_is_given_up() -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    target = Standing(place, b"b")
    troubled(client, OutcomeUnknown("lost"), happens=False)
    with pytest.raises(OutcomeUnknown):
        election.transfer("b", timeout=2)
    assert leader.lost
    with pytest.raises(NotOwner):
        leader.check()
    assert keys(place) == [target.key], "a late one could still delete our key, so we leave"


def test_a_leader_whose_key_is_gone_hears_of_it() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    place.server.txn(Txn(then=(Delete(leader.key),)))
    with pytest.raises(LeadershipLost):
        election.transfer("b")


def test_nothing_is_proven_while_it_is_passed_on() -> None:
    place = Place()
    client = client_of(place)
    election = Election(client, "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    seen: list[Any] = []
    plain = client._commit

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if request.writes:
            seen.append((leader.state, leader.remaining(), leader.lost.is_set()))
            with pytest.raises(NotOwner):
                leader.check()
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # looks while the request is under way
    election.transfer("b")
    assert seen == [(LeaseState.UNSURE, 0.0, False)]


def troubled(client: Client, error: Exception, *, happens: bool, times: int = 1000) -> None:
    """The next transactions that write end like this; those that follow are answered."""
    plain = client._commit
    left = [error] * times

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if request.writes and left:
            if happens:
                await plain(request, deadline=deadline)
            raise left.pop()
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # the network between
