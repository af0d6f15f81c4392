"""A group of one member keeps the consensus contract."""

from __future__ import annotations

import pytest

from coord.server.consensus import NORMAL, Entry, HardState, ReadState
from coord.server.invariant import InvariantBroken
from coord.server.member.solo import SoloConsensus


def started(term: int = 1, last: int = 0) -> SoloConsensus:
    core = SoloConsensus(7, HardState(term), last)
    core.ready()
    core.advance()
    core.ready()
    core.advance()
    return core


def test_a_fresh_store_starts_in_term_two_and_each_restart_adds_one() -> None:
    assert SoloConsensus(7, HardState(1), 0).term == 2
    assert SoloConsensus(7, HardState(2, 7, 5), 5).term == 3


def test_it_leads_from_the_start() -> None:
    assert SoloConsensus(7, HardState(1), 0).leader == 7


def test_the_first_batch_persists_the_term_and_an_empty_entry() -> None:
    ready = SoloConsensus(7, HardState(1), 3).ready()
    assert ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.vote) == (2, 7)
    assert ready.entries == [Entry(2, 4, NORMAL, b"")]
    assert ready.must_sync


def test_nothing_is_committed_in_the_batch_that_persists_it() -> None:
    core = started()
    core.propose(b"a")
    ready = core.ready()
    assert [entry.data for entry in ready.entries] == [b"a"]
    assert ready.committed == []
    assert core.commit == 1
    core.advance()
    assert core.commit == 2
    assert [entry.data for entry in core.ready().committed] == [b"a"]


def test_proposals_made_while_a_batch_is_out_form_the_next_one() -> None:
    core = started()
    core.propose(b"a")
    core.ready()
    core.propose(b"b")
    core.propose(b"c")
    assert not core.has_ready()
    core.advance()
    ready = core.ready()
    assert [entry.data for entry in ready.committed] == [b"a"]
    assert [(entry.index, entry.data) for entry in ready.entries] == [(3, b"b"), (4, b"c")]


def test_a_second_batch_before_advance_is_a_defect() -> None:
    core = SoloConsensus(7, HardState(1), 0)
    core.ready()
    with pytest.raises(InvariantBroken):
        core.ready()


def test_advance_without_a_batch_is_a_defect() -> None:
    with pytest.raises(InvariantBroken):
        started().advance()


def test_it_is_quiet_when_there_is_nothing_to_do() -> None:
    assert not started().has_ready()


def test_recovery_hands_out_the_durable_log_once_the_new_term_is_on_disk() -> None:
    rest = [Entry(2, 4, NORMAL, b"x"), Entry(2, 5, NORMAL, b"y")]
    core = SoloConsensus(7, HardState(2, 7, 0), 5, rest)
    assert core.commit == 3
    assert core.ready().committed == []
    core.advance()
    assert [(entry.term, entry.index, entry.data) for entry in core.ready().committed] == [
        (2, 4, b"x"),
        (2, 5, b"y"),
        (3, 6, b""),
    ]


def test_a_gap_in_the_log_is_a_defect() -> None:
    with pytest.raises(InvariantBroken):
        SoloConsensus(7, HardState(2), 9, [Entry(2, 4, NORMAL, b"x")])


def test_a_read_waits_for_the_first_entry_of_the_term() -> None:
    core = SoloConsensus(7, HardState(1), 0)
    assert core.read_now() == -1
    assert core.read_index(b"token")
    core.ready()
    core.advance()
    assert core.read_now() == 1
    assert core.ready().read_states == [ReadState(b"token", 1)]


def test_a_read_is_answered_at_once_afterwards() -> None:
    core = started()
    assert core.read_index(b"token")
    assert core.ready().read_states == [ReadState(b"token", 1)]


def test_a_message_is_a_defect() -> None:
    with pytest.raises(InvariantBroken):
        started().step(object())
