"""The ledger: a key that may exist is not forgotten before it is known to be gone."""

from __future__ import annotations

import contextlib
import gc

import pytest

from coord.client.keeper.ledger import BATCH_LIMIT, Place, Ticket
from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT
from coord.errors import ClosedError, LeaseLost, OutcomeUnknown, Unavailable
from coord.model import LeaseState
from coord.ops import Delete
from tests.unit.client.drive import DONE, Commit, Drive, Renew, Revoke


class Owner:
    """What can own a ticket."""


def claimed(drive: Drive, name: bytes = b"n") -> Ticket:
    """A ticket whose claim was answered."""
    ticket = drive.keeper.ticket(drive.session(), name)
    drive.keeper.claiming(ticket, drive.clock.now() + 5)
    drive.keeper.answered(ticket)
    return ticket


def deleted(commit: Commit) -> list[bytes]:
    return [op.key for op in commit.request.then if isinstance(op, Delete)]


def quiet(drive: Drive, seconds: float) -> list[Commit]:
    """Let time pass, answering renewals; returns the deletions that were sent."""
    commits: list[Commit] = []
    end = drive.clock.now() + seconds
    while drive.clock.now() < end:
        for duty in drive.poll():
            drive.duties.remove(duty)
            if isinstance(duty, Renew):
                drive.answer(duty, 10)
            elif isinstance(duty, Commit):
                commits.append(duty)
                drive.answer(duty, DONE)
        due = drive.due_in()
        drive.clock.move_to(min(end, drive.clock.now() + (end if due is None else max(0.0, due))))
    return commits


def test_keys_lie_below_the_name_and_are_never_the_same() -> None:
    drive = Drive()
    session = drive.session()
    keys = [drive.keeper.ticket(session, b"n").key for _ in range(3)]
    assert keys == [b"n/%x-%x" % (session.lease, number) for number in (1, 2, 3)]


def test_a_ticket_needs_a_live_session() -> None:
    drive = Drive()
    session = drive.session()
    drive.keeper.lose(session, "history")
    with pytest.raises(LeaseLost):
        drive.keeper.ticket(session, b"n")


def test_what_was_never_sent_leaves_at_once() -> None:
    drive = Drive()
    ticket = drive.keeper.ticket(drive.session(), b"n")
    assert not drive.keeper.leave(ticket, drive.clock.now())
    assert not drive.keeper.tickets
    assert not drive.poll()


def test_a_running_call_keeps_its_ticket() -> None:
    drive = Drive()
    ticket = claimed(drive)
    assert not quiet(drive, 30)
    assert drive.keeper.tickets == [ticket]


def test_a_deletion_by_the_caller_is_enough() -> None:
    drive = Drive()
    ticket = claimed(drive)
    assert drive.keeper.leave(ticket, drive.clock.now() + 1)
    drive.keeper.deleted(ticket, drive.clock.now())
    assert not drive.keeper.tickets
    assert not quiet(drive, 30)


def test_the_keeper_takes_over_when_the_caller_is_done() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    assert not drive.poll(), "the caller's own budget comes first"
    drive.clock.advance(1.01)
    commit = drive.take(Commit)
    assert deleted(commit) == [ticket.key]
    drive.answer(commit, DONE)
    assert ticket.place is Place.GONE


def test_a_deletion_is_repeated_until_it_is_acknowledged() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.leave(ticket, drive.clock.now())
    for error in (Unavailable("down"), OutcomeUnknown("lost"), Unavailable("down")):
        drive.answer(drive.take(Commit), error=error)
        assert ticket.place is Place.LEAVING
        assert not drive.poll(), "not at once again"
        drive.clock.advance(1)
    drive.answer(drive.take(Commit), DONE)
    assert not drive.keeper.tickets


def test_pauses_between_deletions_grow_and_are_bounded() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.leave(ticket, drive.clock.now())
    pauses = []
    for _ in range(8):
        drive.answer(drive.take(Commit), error=Unavailable("down"))
        pauses.append(ticket.due - drive.clock.now())
        drive.clock.move_to(ticket.due)
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.1)
    assert pauses[-1] == pytest.approx(2.0)


def test_a_shell_that_forgets_a_deletion_is_asked_again() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.leave(ticket, drive.clock.now())
    forgotten = drive.take(Commit)
    drive.clock.move_to(forgotten.deadline + 1.01)
    assert deleted(drive.take(Commit)) == [ticket.key]


def test_after_an_unknown_claim_the_deletion_is_confirmed_when_it_can_no_longer_arrive() -> None:
    drive = Drive()
    ticket = drive.keeper.ticket(drive.session(), b"n")
    give_up = drive.clock.now() + 5
    drive.keeper.claiming(ticket, give_up)
    drive.keeper.leave(ticket, drive.clock.now())
    drive.answer(drive.take(Commit), DONE)
    assert ticket.place is Place.LEAVING, "the claim may still arrive"
    commits = quiet(drive, 30)
    assert {key for commit in commits for key in deleted(commit)} == {ticket.key}
    assert commits[-1].sent >= give_up + SERVER_REQUEST_TIMEOUT
    assert not drive.keeper.tickets


def test_a_claim_that_was_overtaken_by_its_deletion_does_not_stay_long() -> None:
    drive = Drive()
    ticket = drive.keeper.ticket(drive.session(), b"n")
    drive.keeper.claiming(ticket, drive.clock.now() + 5)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    began = drive.clock.now()
    drive.keeper.deleted(ticket, began)
    commits = quiet(drive, 30)
    assert commits[0].sent <= began + 0.2
    assert len(commits) <= 7


def test_the_callers_own_deletion_is_confirmed_too() -> None:
    drive = Drive()
    ticket = drive.keeper.ticket(drive.session(), b"n")
    drive.keeper.claiming(ticket, drive.clock.now() + 5)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    drive.keeper.deleted(ticket, drive.clock.now())
    assert ticket.place is Place.LEAVING
    assert quiet(drive, 30)
    assert ticket.place is Place.GONE


def test_the_answer_to_a_second_claim_says_nothing_of_the_first() -> None:
    drive = Drive()
    ticket = drive.keeper.ticket(drive.session(), b"n")
    first = drive.clock.now() + 5
    drive.keeper.claiming(ticket, first)
    drive.clock.advance(1)
    drive.keeper.claiming(ticket, drive.clock.now() + 5)
    drive.keeper.answered(ticket)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    drive.keeper.deleted(ticket, drive.clock.now())
    commits = quiet(drive, 30)
    assert commits[-1].sent >= first + SERVER_REQUEST_TIMEOUT
    assert ticket.place is Place.GONE


def test_a_dropped_guard_gives_its_ticket_back() -> None:
    drive = Drive()
    ticket = claimed(drive)
    guard = Owner()
    drive.keeper.hold(ticket, guard)
    assert not quiet(drive, 30)
    woken = drive.wakes
    del guard
    gc.collect()
    assert drive.wakes > woken
    assert deleted(drive.take(Commit)) == [ticket.key]


def test_a_guard_that_gave_its_ticket_back_can_be_dropped() -> None:
    drive = Drive()
    ticket = claimed(drive)
    guard = Owner()
    drive.keeper.hold(ticket, guard)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    drive.keeper.deleted(ticket, drive.clock.now())
    del guard
    gc.collect()
    assert not quiet(drive, 30)


def limited(drive: Drive, seconds: float) -> tuple[Ticket, Owner, list[str]]:
    """A ticket whose guard may have it for so long, and what the guard is told."""
    ticket, guard = claimed(drive), Owner()
    told: list[str] = []
    drive.keeper.hold(ticket, guard)
    assert drive.keeper.limit(ticket, drive.clock.now() + seconds, lambda: told.append("over"))
    return ticket, guard, told


def test_a_guard_may_have_a_ticket_for_so_long() -> None:
    drive = Drive()
    ticket, _guard, told = limited(drive, 3)
    assert not quiet(drive, 2.9)
    assert told == []
    (commit,) = quiet(drive, 0.2)
    assert deleted(commit) == [ticket.key]
    assert told == ["over"]
    assert not drive.keeper.limit(ticket, drive.clock.now() + 10, lambda: None)


def test_a_later_limit_replaces_the_one_before() -> None:
    drive = Drive()
    ticket, _guard, told = limited(drive, 3)
    drive.clock.advance(2)
    assert drive.keeper.limit(ticket, drive.clock.now() + 3, lambda: told.append("late"))
    assert not quiet(drive, 2.9)
    assert quiet(drive, 0.2)
    assert told == ["late"]


def test_a_limit_that_passed_cannot_be_moved_though_the_keeper_has_not_run_yet() -> None:
    drive = Drive()
    ticket, _guard, _told = limited(drive, 3)
    drive.clock.advance(3)
    assert not drive.keeper.limit(ticket, drive.clock.now() + 10, lambda: None)


def test_a_limit_ends_with_its_ticket() -> None:
    drive = Drive()
    ticket, _guard, told = limited(drive, 3)
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    drive.keeper.deleted(ticket, drive.clock.now())
    assert not quiet(drive, 10)
    assert told == []
    assert not drive.keeper.limit(ticket, drive.clock.now() + 10, lambda: None)


def test_a_lease_that_is_gone_takes_its_tickets_along() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), 0)
    assert ticket.place is Place.GONE
    assert not drive.keeper.tickets
    assert not drive.keeper.leave(ticket, drive.clock.now())


def test_a_lost_lease_keeps_its_tickets_until_it_is_revoked() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.lose(ticket.session, "history")
    drive.answer(drive.take(Revoke), error=Unavailable("down"))
    assert drive.keeper.tickets == [ticket]
    drive.clock.advance(2)
    drive.answer(drive.take(Revoke))
    assert not drive.keeper.tickets


def test_deletions_are_sent_together_but_not_too_many() -> None:
    drive = Drive()
    tickets = [claimed(drive) for _ in range(BATCH_LIMIT + 3)]
    for ticket in tickets:
        drive.keeper.leave(ticket, drive.clock.now())
    sizes = [len(duty.request.then) for duty in drive.poll() if isinstance(duty, Commit)]
    assert sizes == [BATCH_LIMIT, 3]


def test_closing_leaves_it_to_the_revocation() -> None:
    drive = Drive()
    ticket = claimed(drive)
    drive.keeper.leave(ticket, drive.clock.now())
    drive.keeper.close(drive.clock.now() + 1)
    duties = drive.poll()
    assert [type(duty) for duty in duties] == [Revoke]
    drive.answer(duties[0])
    assert drive.keeper.closed
    assert not drive.keeper.tickets
    with pytest.raises(ClosedError):
        drive.keeper.ticket(ticket.session, b"n")


def test_acknowledged_releases_do_not_wake_the_keeper_each_time() -> None:
    drive = Drive()
    session = drive.session()
    drive.keeper.next_wake()
    woken = drive.wakes
    for _ in range(10):
        ticket = drive.keeper.ticket(session, b"n")
        drive.keeper.claiming(ticket, drive.clock.now() + 5)
        drive.keeper.answered(ticket)
        drive.keeper.leave(ticket, drive.clock.now() + 1)
        drive.keeper.deleted(ticket, drive.clock.now())
    assert drive.wakes == woken + 1


def test_a_release_that_is_not_acknowledged_wakes_the_keeper_in_time() -> None:
    drive = Drive()
    ticket = claimed(drive)
    asleep_until = drive.keeper.next_wake()
    woken = drive.wakes
    drive.keeper.leave(ticket, drive.clock.now() + 1)
    assert drive.wakes > woken
    planned = drive.keeper.next_wake()
    assert planned is not None
    assert asleep_until is None or planned < asleep_until
    assert planned == drive.clock.now() + 1


def test_a_forked_child_withdraws_nothing_of_its_parents() -> None:
    """It is the parent's key, by the same name; a child that left the parent's block deleted it."""
    drive = Drive()
    guard = Owner()
    held = claimed(drive)
    drive.keeper.hold(held, guard)
    left = claimed(drive)
    drive.keeper.leave(left, 1.0)
    drive.keeper.forked(contextlib.nullcontext())
    child = Drive()
    for ticket in (held, left):
        assert ticket.session.state is LeaseState.LOST
        assert not child.keeper.leave(ticket, 1.0)
    assert child.due_in() is None
