"""Sessions: granted once for each time to live, renewed in time, lost in time and for good."""

from __future__ import annotations

import pytest

from coord.client.keeper.keeping import Outcome
from coord.client.keeper.session import Phase, Session, margin
from coord.errors import (
    AuthenticationFailed,
    ClosedError,
    LeaseExists,
    LeaseLost,
    LeaseNotFound,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
)
from coord.model import LeaseGrant, LeaseState
from tests.unit.client.drive import Drive, Grant, Renew, Revoke


def test_sessions_are_shared_by_time_to_live() -> None:
    drive = Drive()
    first = drive.session(10)
    assert drive.session(10) is first
    assert drive.session(9.2) is first, "the server counts whole seconds"
    assert drive.session(30) is not first
    assert drive.keeper.live(10) is first
    assert drive.keeper.live(11) is None


def test_two_wishes_share_one_grant() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    drive.keeper.want(10, got.append)
    duty = drive.take(Grant)
    assert not drive.duties
    drive.answer(duty, LeaseGrant(duty.lease, 10))
    assert len(got) == 2
    assert got[0] is got[1]


def test_a_wish_taken_back_is_not_answered_and_asks_for_nothing_again() -> None:
    drive = Drive()
    got: list[Outcome] = []
    forget = drive.keeper.want(10, got.append)
    duty = drive.take(Grant)
    forget()
    drive.answer(duty, error=Unavailable("refused"))
    drive.clock.advance(60)
    assert drive.keeper.next_wake() is None
    assert not drive.poll()
    assert not got


def test_the_deadline_counts_from_when_the_request_was_sent() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    duty = drive.take(Grant)
    drive.clock.advance(1.0)
    drive.answer(duty, LeaseGrant(duty.lease, 10))
    session = drive.session(10)
    assert session.remaining() == pytest.approx(10 - margin(10) - 1.0)
    drive.clock.advance(4.0)
    renewal = drive.take(Renew)
    drive.clock.advance(0.75)
    drive.answer(renewal, 10)
    assert session.remaining() == pytest.approx(10 - margin(10) - 0.75)


def test_a_renewal_is_due_at_half_the_time_to_live() -> None:
    drive = Drive()
    drive.session(10)
    assert drive.due_in() == pytest.approx(5.0)
    drive.clock.advance(4.99)
    assert not drive.poll()
    drive.clock.advance(0.02)
    drive.renew()
    assert drive.due_in() == pytest.approx(5.0)


def test_failed_renewals_are_tried_again_quickly_until_the_deadline() -> None:
    drive = Drive()
    session = drive.session(10)
    attempts = 0
    while session.state is not LeaseState.LOST:
        due = drive.due_in()
        assert due is not None
        drive.clock.advance(max(0.0, due))
        for duty in drive.poll():
            drive.duties.remove(duty)
            if isinstance(duty, Renew):
                attempts += 1
                assert duty.deadline > duty.sent
                drive.answer(duty, error=Unavailable("down"))
    assert attempts > 5
    assert session.cause == "unreachable"
    assert drive.clock.now() == pytest.approx(1000 + 10 - margin(10))
    assert isinstance(session.loss().__cause__, Unavailable)


def test_only_one_renewal_is_under_way() -> None:
    drive = Drive()
    drive.session(10)
    drive.clock.advance(5.0)
    assert len(drive.poll()) == 1
    drive.clock.advance(1.0)
    assert not drive.poll()


def test_a_shell_that_never_reports_does_not_stop_the_renewals() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5.0)
    forgotten = drive.take(Renew)
    drive.clock.move_to(forgotten.deadline + 1.01)
    drive.answer(drive.take(Renew), 10)
    assert session.state is LeaseState.HELD


def test_unsure_begins_when_a_renewal_is_overdue() -> None:
    drive = Drive()
    session = drive.session(9)
    drive.clock.advance(5.99)
    assert session.state is LeaseState.HELD
    drive.clock.advance(0.02)
    assert session.state is LeaseState.UNSURE
    session.check()
    assert session.remaining() > 0
    drive.renew()
    assert session.state is LeaseState.HELD


def test_a_process_that_was_stopped_sees_the_loss_before_its_keeper_runs() -> None:
    drive = Drive()
    session = drive.session(10)
    told: list[str] = []
    session.on_lost(lambda: told.append("lost"))
    drive.clock.advance(60)
    assert session.state is LeaseState.LOST
    assert session.remaining() == 0
    with pytest.raises(LeaseLost) as caught:
        session.check()
    assert caught.value.cause == "unreachable"
    assert caught.value.lease == session.lease
    assert not told, "callbacks belong to the keeper's thread"
    drive.poll()
    assert told == ["lost"]


@pytest.mark.parametrize("late", ["acknowledged", "gone", "failed"])
def test_a_late_answer_never_resurrects(late: str) -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5)
    renewal = drive.take(Renew)
    drive.clock.advance(5)
    assert session.state is LeaseState.LOST
    match late:
        case "acknowledged":
            drive.answer(renewal, 10)
        case "gone":
            drive.answer(renewal, 0)
        case _:
            drive.answer(renewal, error=Unavailable("down"))
    assert session.state is LeaseState.LOST
    assert session.remaining() == 0
    assert session.cause == "unreachable"


def test_answers_out_of_order_never_shorten_the_deadline() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5)
    first = drive.take(Renew)
    drive.clock.move_to(first.deadline + 1.01)
    second = drive.take(Renew)
    drive.answer(second, 10)
    left = session.remaining()
    drive.answer(first, 10)
    assert session.remaining() == left


@pytest.mark.parametrize("ttl", [0, -1])
def test_an_answer_without_time_to_live_is_a_loss(ttl: int) -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), ttl)
    assert session.state is LeaseState.LOST
    assert session.cause == "expired"
    assert session.phase is Phase.GONE
    assert not drive.poll(), "there is nothing to revoke"


def test_lease_not_found_is_a_loss() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), error=LeaseNotFound("gone"))
    assert session.cause == "expired"


def test_what_another_request_found_out_is_a_loss() -> None:
    drive = Drive()
    session = drive.session(10)
    told: list[int] = []
    session.on_lost(lambda: told.append(session.lease))
    drive.keeper.lease_gone(session.lease)
    assert session.state is LeaseState.LOST
    drive.poll()
    assert told == [session.lease]


def test_other_errors_of_a_renewal_are_not_a_loss() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), error=AuthenticationFailed("token", code=16, text="token"))
    assert session.state is LeaseState.HELD
    assert (drive.due_in() or 0) <= 0.5


def test_a_lost_lease_is_revoked_until_that_is_acknowledged() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.keeper.lose(session, "history")
    assert session.cause == "history"
    drive.answer(drive.take(Revoke), error=Unavailable("down"))
    assert session.phase is Phase.LOST
    drive.clock.advance(1)
    drive.answer(drive.take(Revoke), error=OutcomeUnknown("lost"))
    drive.clock.advance(2)
    drive.answer(drive.take(Revoke), error=LeaseNotFound("gone"))
    assert session.phase is Phase.GONE
    drive.clock.advance(60)
    assert not drive.poll()


def test_after_a_loss_the_next_session_is_a_new_one() -> None:
    drive = Drive()
    old = drive.session(10)
    drive.keeper.lose(old, "history")
    fresh = drive.session(10)
    assert fresh is not old
    assert fresh.lease != old.lease
    assert fresh.state is LeaseState.HELD
    assert old.state is LeaseState.LOST


def test_a_grant_that_did_not_happen_is_asked_for_again() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    first = drive.take(Grant)
    drive.answer(first, error=Unavailable("down"))
    assert isinstance(drive.keeper.trouble(10), Unavailable)
    drive.clock.advance(1)
    second = drive.take(Grant)
    assert second.lease == first.lease
    drive.answer(second, LeaseGrant(second.lease, 10))
    assert isinstance(got[0], Session)


def test_a_grant_without_an_answer_is_given_up_and_another_id_asked_for() -> None:
    """A second grant of the same id could bring a lease back after its end."""
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    first = drive.take(Grant)
    drive.answer(first, error=OutcomeUnknown("lost"))
    drive.clock.advance(1)
    second = drive.take(Grant)
    assert second.lease != first.lease
    drive.answer(drive.take(Revoke), error=Unavailable("down"))
    drive.answer(second, LeaseGrant(second.lease, 10))
    assert isinstance(got[0], Session)
    assert got[0].lease == second.lease
    drive.clock.advance(2)
    assert not drive.poll(), "one try is enough for a lease that carries nothing"


def test_grants_without_answers_do_not_come_faster_and_faster() -> None:
    drive = Drive()
    drive.keeper.want(10, lambda outcome: None)
    sent = 0
    end = drive.clock.now() + 20
    while drive.clock.now() < end:
        for duty in drive.poll():
            sent += isinstance(duty, Grant)
            drive.answer(duty, error=OutcomeUnknown("lost"))
        due = drive.due_in()
        assert due is not None
        drive.clock.advance(max(0.0, due))
    assert 15 <= sent <= 40


def test_a_grant_of_a_process_that_was_stopped_is_asked_for_anew() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    first = drive.take(Grant)
    drive.clock.advance(60)
    drive.poll()
    drive.answer(first, LeaseGrant(first.lease, 10))
    assert not got, "an answer sixty seconds old proves nothing"
    drive.clock.advance(1)
    second = drive.take(Grant)
    drive.answer(second, LeaseGrant(second.lease, 10))
    assert isinstance(got[0], Session)


def test_a_slow_grant_is_proven_by_a_renewal() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(2, got.append)
    duty = drive.take(Grant)
    drive.clock.advance(1.95)
    drive.answer(duty, LeaseGrant(duty.lease, 2))
    assert not got
    drive.answer(drive.take(Renew), 2)
    assert isinstance(got[0], Session)
    assert got[0].lease == duty.lease
    assert got[0].state is LeaseState.HELD


def test_an_id_that_somebody_has_is_replaced() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    first = drive.take(Grant)
    drive.answer(first, error=LeaseExists("taken"))
    drive.clock.advance(1)
    second = drive.take(Grant)
    assert second.lease != first.lease
    drive.answer(second, LeaseGrant(second.lease, 10))
    assert isinstance(got[0], Session)


def test_a_refused_grant_is_told() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    drive.answer(drive.take(Grant), error=PermissionDenied("no", code=7, text="no"))
    assert isinstance(got[0], PermissionDenied)
    assert drive.keeper.next_wake() is None


def test_the_server_may_grant_more() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(1, got.append)
    duty = drive.take(Grant)
    drive.answer(duty, LeaseGrant(duty.lease, 6))
    session = drive.session(1)
    assert session.ttl == 6
    assert session.remaining() == pytest.approx(6 - margin(6))
    assert drive.due_in() == pytest.approx(3)


def test_callbacks_run_once_and_can_be_taken_back() -> None:
    drive = Drive()
    session = drive.session(10)
    told: list[str] = []
    session.on_lost(lambda: told.append("a"))
    forget = session.on_lost(lambda: told.append("b"))
    forget()
    drive.keeper.lose(session, "history")
    drive.poll()
    drive.poll()
    assert told == ["a"]
    session.on_lost(lambda: told.append("late"))
    assert told == ["a", "late"]


def test_a_callback_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    drive = Drive()
    session = drive.session(10)
    told: list[str] = []
    session.on_lost(_broken)
    session.on_lost(lambda: told.append("b"))
    drive.keeper.lose(session, "history")
    drive.poll()
    assert told == ["b"]
    assert "a callback of the keeper failed" in caplog.text


def _broken() -> None:
    raise RuntimeError("of the user's making")


def test_closing_revokes_every_lease_and_is_bounded() -> None:
    drive = Drive()
    sessions = [drive.session(10), drive.session(20)]
    drive.keeper.close(drive.clock.now() + 1.0)
    assert {session.cause for session in sessions} == {"closed"}
    drive.answer(drive.take(Revoke))
    assert not drive.keeper.closed
    drive.answer(drive.take(Revoke), error=Unavailable("down"))
    assert not drive.keeper.closed
    drive.clock.advance(1.01)
    assert drive.keeper.closed


def test_closing_ends_wishes() -> None:
    drive = Drive()
    got: list[Outcome] = []
    drive.keeper.want(10, got.append)
    drive.keeper.close(drive.clock.now() + 1.0)
    assert isinstance(got[0], ClosedError)
    assert drive.keeper.closed
    with pytest.raises(ClosedError):
        drive.keeper.want(10, got.append)


def test_nothing_is_polled_for_without_need() -> None:
    drive = Drive()
    assert drive.keeper.next_wake() is None
    drive.session(10)
    assert drive.due_in() == pytest.approx(5.0)


def test_losing_everything_tells_everybody() -> None:
    drive = Drive()
    sessions = [drive.session(10), drive.session(20)]
    drive.keeper.lose_all("history")
    assert [session.state for session in sessions] == [LeaseState.LOST] * 2
    assert [session.cause for session in sessions] == ["history"] * 2


def test_the_margin_is_bounded() -> None:
    assert margin(2) == pytest.approx(0.1)
    assert margin(10) == pytest.approx(0.5)
    assert margin(3600) == 2.0
