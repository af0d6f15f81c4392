"""The blocking election on a port without network."""

from __future__ import annotations

import gc
import itertools
import os
from typing import Any

import pytest

from coord.errors import (
    LeadershipLost,
    LockTimeout,
    NotOwner,
    UsageError,
)
from coord.model import LeaseState
from coord.ops import Delete, Put, Txn
from coord.program import run_blocking
from coord.recipes.elections.candidacy import Candidacy, Report
from coord.recipes.elections.election import Election
from coord.recipes.elections.leadership import Leadership
from coord.recipes.locks.lock import Lock
from tests.unit.recipes.direct import DirectPort, Place, Stuck


class Client(DirectPort):
    """A client whose background programs are run at once."""

    timeout: float | None = 5.0

    def background(self, program: Any, *, name: str) -> Any:
        raise AssertionError(name)


def client_of(place: Place) -> Client:
    made = Client(place, len(place.clients) + 1)
    place.clients.append(made)
    return made


def keys(place: Place) -> list[bytes]:
    return sorted(place.server.keys(b"cron/"))


class Standing:
    """Somebody who stands behind others, until `go`."""

    def __init__(self, place: Place, value: bytes) -> None:
        self.client = client_of(place)
        session = self.client.keeper
        self.key = b""
        outcome: list[Any] = []
        session.want(10, outcome.append)
        self.client.keep()
        self.key = b"cron/%x-1" % outcome[0].lease
        place.server.txn(Txn(then=(Put(self.key, value, outcome[0].lease),)))


# --- leading


def test_a_block_leads_and_resigns() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    with election.lead("a") as leader:
        assert keys(place) == [leader.key]
        assert leader.term == leader.fence == place.server.create_revision(leader.key)
        assert election.leading is leader
        found = election.leader()
        assert found is not None
        assert (found.text, found.key, found.term, found.lease) == ("a", leader.key, leader.term, leader.lease)
        assert repr(leader).startswith("<Leadership 'cron' HELD")
    assert keys(place) == []
    assert election.leader() is None
    assert election.leading is None
    assert leader.lost, "whoever works under it elsewhere is told"


def test_a_term_costs_two_requests() -> None:
    client = client_of(Place())
    election = Election(client, "cron")
    election.campaign("a").resign()
    client.requests.clear()
    election.campaign("a").resign()
    assert len(client.requests) == 2


def test_without_a_value_the_process_is_described() -> None:
    election = Election(client_of(Place()), "cron")
    with election.lead():
        found = election.leader()
        assert found is not None
        assert found.owner.pid == os.getpid()


def test_a_lock_of_the_same_name_excludes_it() -> None:
    place = Place()
    with Election(client_of(place), "cron").lead("a"):
        assert Lock(client_of(place), "cron").try_acquire() is None


def test_a_campaign_that_is_not_won_in_time_leaves_nothing() -> None:
    place = Place()
    election = Election(client_of(place), "cron", timeout=3)
    with election.lead("a") as leader:
        for timeout in (2, 0):
            with pytest.raises(LockTimeout):
                Election(client_of(place), "cron").campaign("b", timeout=timeout)
        assert keys(place) == [leader.key]
        with pytest.raises(Stuck):
            Election(client_of(place), "cron").campaign("b")


@pytest.mark.parametrize(
    "arguments", [{"name": ""}, {"name": "a", "ttl": 0}, {"name": "a", "timeout": -1}, {"name": 7}]
)
def test_wrong_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Election(client_of(Place()), **arguments)


def test_a_loss_raises_leadership_lost_at_the_end_of_the_block() -> None:
    place = Place()
    client = client_of(place)
    with pytest.raises(LeadershipLost) as caught:
        lead_until_lost(client)
    assert caught.value.cause == "unreachable"


def lead_until_lost(client: Client) -> None:
    with Election(client, "cron").lead("a") as leader:
        client.lose()
        assert leader.lost
        with pytest.raises(LeadershipLost):
            leader.proclaim("b")


# --- saying something else, resigning


def test_a_proclamation_replaces_the_value_and_nothing_else() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    with election.lead("a") as leader:
        election.proclaim("b")
        found = election.leader()
        assert found is not None
        assert (found.text, found.key, found.term, found.lease) == ("b", leader.key, leader.term, leader.lease)
        assert found.revision > found.term


def test_the_store_refuses_what_an_old_leader_says() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    leader = election.campaign("a")
    place.server.txn(Txn(then=(Delete(leader.key),)))
    with pytest.raises(LeadershipLost):
        election.proclaim("b")
    assert keys(place) == []
    assert leader.state is LeaseState.LOST


def test_who_resigns_tells_its_workers_before_the_key_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    client = client_of(place)
    leader = Election(client, "cron").campaign("a")
    seen: list[tuple[bool, int]] = []
    plain = client.withdraw

    async def withdraw(*tickets: Any) -> bool:
        seen.append((leader.lost.is_set(), len(keys(place))))
        return await plain(*tickets)

    monkeypatch.setattr(client, "withdraw", withdraw)
    assert leader.resign()
    assert seen == [(True, 1)]
    assert keys(place) == []


def test_who_leads_nothing_can_neither_speak_nor_resign_nor_transfer() -> None:
    election = Election(client_of(Place()), "cron")
    assert election.resign() is False
    with pytest.raises(NotOwner):
        election.proclaim("a")
    with pytest.raises(NotOwner):
        election.transfer("a")


def test_it_remembers_what_it_won() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    election.campaign("a")
    assert len(keys(place)) == 1
    assert election.resign() is True
    assert keys(place) == []
    assert election.resign() is False


# --- looking


def test_candidates_stand_in_order() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    leader = election.campaign("a")
    Standing(place, b"b")
    place.server.put(b"cron/config", b"none of them")
    found = election.candidates()
    assert [each.text for each in found] == ["a", "b"]
    assert found[0].id == leader.key.decode().removeprefix("cron/")
    assert found[0].term < found[1].term


def test_observing_tells_each_change_once() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    watcher = client_of(place)
    seen = Election(watcher, "cron").observe()
    assert next(seen) is None
    watcher.while_waiting += [
        lambda: election.campaign("a"),
        lambda: Standing(place, b"b"),
        lambda: election.proclaim("a2"),
        lambda: place.server.put(b"cron/config", b"none of them"),
        election.resign,
    ]
    assert [each and each.text for each in itertools.islice(seen, 3)] == ["a", "a2", "b"]


def test_observing_goes_on_after_a_compaction() -> None:
    place = Place()
    election = Election(client_of(place), "cron")
    seen = Election(client_of(place), "cron").observe()
    election.campaign("a")
    first = next(seen)
    assert first is not None
    assert first.text == "a"
    election.resign()
    election.campaign("b")
    place.server.compact()
    then = next(seen)
    assert then is not None
    assert then.text == "b", "what lies between was compacted away"


# --- reports


def reported(election: Election, *, until: int, **arguments: Any) -> list[Report]:
    return [each.report for each in itertools.islice(election.transitions("me", **arguments), until)]


def test_a_leader_reports_at_half_the_ttl() -> None:
    place = Place()
    before = place.clock.now()
    told = reported(Election(client_of(place), "cron", ttl=10), until=3)
    assert told == [Report.FIRST_LEADER, Report.STILL_LEADER, Report.STILL_LEADER]
    assert place.clock.now() == pytest.approx(before + 10)
    assert keys(place) == [], "who stops iterating resigns"


def test_a_follower_turns_leader_and_follower_again() -> None:
    place = Place()
    held = Election(client_of(place), "cron").campaign("other")
    client = client_of(place)
    told = Election(client, "cron").transitions("me", interval=2)
    first = next(told)
    assert (first.report, first.leader, first.report.leads) == (Report.FIRST_FOLLOWER, None, False)
    assert next(told).report is Report.STILL_FOLLOWER
    client.while_waiting.append(held.resign)
    turned = next(told)
    assert (turned.report, turned.report.leads) == (Report.TURNED_LEADER, True)
    assert isinstance(turned.leader, Leadership)
    client.while_waiting.append(lambda: place.server.revoke(turned.leader.lease))  # type: ignore[union-attr]  # it leads
    assert next(told).report is Report.TURNED_FOLLOWER
    assert turned.leader.lost
    again = next(told)
    assert again.report is Report.TURNED_LEADER
    assert again.leader is not None
    again.leader.resign()
    assert next(told).report is Report.TURNED_FOLLOWER
    told.close()  # type: ignore[attr-defined]  # it is a generator
    assert keys(place) == []


def test_a_waiting_reporter_that_stops_leaves_the_queue() -> None:
    place = Place()
    held = Election(client_of(place), "cron").campaign("other")
    assert reported(Election(client_of(place), "cron"), until=1) == [Report.FIRST_FOLLOWER]
    assert keys(place) == [held.key]


def test_a_reporter_that_is_only_dropped_leaves_the_queue() -> None:
    place = Place()
    held = Election(client_of(place), "cron").campaign("other")
    client = client_of(place)
    candidacy = Candidacy(client, b"cron", b"me", 10, 5, lambda spot: Leadership(client, "cron", spot))
    run_blocking(candidacy.next())
    assert len(keys(place)) == 2
    del candidacy
    gc.collect()
    client.keep()
    assert keys(place) == [held.key]


def test_an_interval_is_positive() -> None:
    with pytest.raises(UsageError):
        Election(client_of(Place()), "cron").transitions(interval=0)


# --- working


def test_leader_only_leads_for_the_time_of_the_call() -> None:
    place = Place()
    election = Election(client_of(place), "cron")

    @election.leader_only
    def job(leader: Leadership, word: str) -> str:
        """Does it."""
        assert keys(place) == [leader.key]
        return word * 2

    assert job("ab") == "abab"
    assert job.__doc__ == "Does it."
    assert keys(place) == []


def test_it_runs_again_after_a_loss() -> None:
    place = Place()
    client = client_of(place)
    terms: list[int] = []

    @Election(client, "cron").leader_only
    def job(leader: Leadership) -> str:
        terms.append(leader.term)
        if len(terms) == 1:
            client.lose()
            return "not as the leader"
        if len(terms) == 2:
            client.lose()
            leader.check()
        if len(terms) == 3:
            leader.resign()
            leader.check()
        return "done"

    assert job() == "done"
    assert terms == sorted(set(terms))
    assert len(terms) == 4
    assert keys(place) == []


def test_what_the_function_raises_ends_it() -> None:
    place = Place()

    @Election(client_of(place), "cron").leader_only
    def job(leader: Leadership) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job()
    assert keys(place) == []


def test_an_error_about_something_else_is_not_taken_for_a_loss() -> None:
    @Election(client_of(Place()), "cron").leader_only
    def job(leader: Leadership) -> None:
        raise NotOwner("of something else")

    with pytest.raises(NotOwner):
        job()
