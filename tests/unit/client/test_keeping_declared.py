"""Declared keys: in place under a live lease, back after a loss, gone after a withdrawal."""

from __future__ import annotations

from typing import Any

import pytest

from coord.client.keeper.declaring import Declaration, Stage
from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT
from coord.errors import (
    ClosedError,
    LeaseNotFound,
    OutcomeUnknown,
    PermissionDenied,
    SpaceExceeded,
    Unavailable,
    UsageError,
)
from coord.model import Header, KeyValue, LeaseGrant, RangeResult, TxnResult
from coord.ops import Attribute, Delete, Put
from tests.unit.client.drive import DONE, Commit, Drive, Grant, Renew, Revoke


def grant(drive: Drive) -> int:
    duty = drive.take(Grant)
    drive.answer(duty, LeaseGrant(duty.lease, duty.ttl))
    lease: int = duty.lease
    return lease


def put_of(drive: Drive) -> tuple[Commit, Put]:
    commit = drive.take(Commit)
    op: Any = commit.request.then[0]
    assert isinstance(op, Put)
    return commit, op


def settled(drive: Drive, value: bytes = b"1") -> Declaration:
    declaration = drive.keeper.declare(b"k", value, 10)
    grant(drive)
    commit, _ = put_of(drive)
    drive.answer(commit, DONE)
    return declaration


def test_a_key_is_put_under_the_shared_session() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    assert declaration.lease is None
    lease = grant(drive)
    commit, put = put_of(drive)
    assert (put.key, put.value, put.lease) == (b"k", b"1", lease)
    drive.answer(commit, DONE)
    assert declaration.lease == lease
    assert drive.session(10).lease == lease


def test_a_live_session_is_used_at_once() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.keeper.declare(b"k", b"1", 10)
    assert put_of(drive)[1].lease == session.lease


def test_it_comes_back_under_a_new_lease() -> None:
    drive = Drive()
    declaration = settled(drive)
    old = declaration.lease
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), 0)
    assert declaration.lease is None
    fresh = grant(drive)
    assert fresh != old
    commit, put = put_of(drive)
    assert put.lease == fresh
    drive.answer(commit, DONE)
    assert declaration.lease == fresh


def test_it_comes_back_when_the_server_was_unreachable_for_long() -> None:
    drive = Drive()
    declaration = settled(drive)
    drive.clock.advance(30)
    drive.poll()
    assert declaration.lease is None
    fresh = grant(drive)
    assert put_of(drive)[1].lease == fresh


def test_a_lease_that_a_put_finds_gone_is_replaced() -> None:
    drive = Drive()
    session = drive.session(10)
    drive.keeper.declare(b"k", b"1", 10)
    commit, _ = put_of(drive)
    drive.answer(commit, error=LeaseNotFound("gone"))
    assert session.cause == "expired"
    fresh = grant(drive)
    assert put_of(drive)[1].lease == fresh


def test_an_update_is_put_and_settles_again() -> None:
    drive = Drive()
    declaration = settled(drive)
    lease = declaration.lease
    declaration.update(b"2")
    assert declaration.lease is None
    commit, put = put_of(drive)
    assert put.value == b"2"
    drive.answer(commit, DONE)
    assert declaration.lease == lease


def test_an_update_during_a_put_is_put_after_it() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    grant(drive)
    first, _ = put_of(drive)
    declaration.update(b"2")
    drive.answer(first, DONE)
    assert declaration.lease is None, "what is stored is not the latest"
    second, put = put_of(drive)
    assert put.value == b"2"
    drive.answer(second, DONE)
    assert declaration.lease is not None


def test_failed_puts_are_repeated() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    grant(drive)
    for error in (Unavailable("down"), SpaceExceeded("full", code=8, text="full")):
        drive.answer(put_of(drive)[0], error=error)
        assert declaration.error is None
        drive.clock.advance(1)
    drive.answer(put_of(drive)[0], DONE)
    assert declaration.lease is not None


def test_a_put_that_may_come_late_is_made_good_once_more() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"old", 10)
    grant(drive)
    lost, _ = put_of(drive)
    drive.answer(lost, error=OutcomeUnknown("lost"))
    declaration.update(b"new")
    drive.answer(put_of(drive)[0], DONE)
    assert declaration.lease is not None
    seen: list[Put] = []
    while drive.clock.now() < lost.deadline + SERVER_REQUEST_TIMEOUT + 1:
        for duty in drive.poll():
            drive.duties.remove(duty)
            if isinstance(duty, Renew):
                drive.answer(duty, 10)
            elif isinstance(duty, Commit):
                op: Any = duty.request.then[0]
                seen.append(op)
                assert duty.sent >= lost.deadline + SERVER_REQUEST_TIMEOUT
                drive.answer(duty, DONE)
        due = drive.due_in()
        assert due is not None
        drive.clock.advance(max(0.0, due))
    assert [put.value for put in seen] == [b"new"]


def test_a_refusal_for_good_is_told_and_not_repeated() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    told: list[Any] = []
    declaration.subscribe(lambda: told.append(declaration.error))
    grant(drive)
    drive.answer(put_of(drive)[0], error=PermissionDenied("no", code=7, text="no"))
    assert isinstance(declaration.error, PermissionDenied)
    assert isinstance(told[-1], PermissionDenied)
    drive.clock.advance(3)
    assert not drive.poll()
    declaration.update(b"2")
    assert declaration.error is None
    assert put_of(drive)[1].value == b"2"


def test_withdrawing_deletes_only_our_own_key() -> None:
    drive = Drive()
    declaration = settled(drive)
    lease = declaration.lease
    declaration.withdraw()
    declaration.withdraw()
    commit = drive.take(Commit)
    compare = commit.request.compares[0]
    assert (compare.key, compare.attribute, compare.operand) == (b"k", Attribute.LEASE, lease)
    assert commit.request.then == (Delete(b"k"),)
    drive.answer(commit, error=Unavailable("down"))
    assert declaration.stage is Stage.LEAVING
    drive.clock.advance(1)
    drive.answer(drive.take(Commit), DONE)
    assert declaration.stage is Stage.ENDED
    with pytest.raises(ClosedError):
        declaration.update(b"2")
    drive.clock.advance(1)
    assert not drive.poll()


def test_withdrawing_what_was_never_put_ends_at_once() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    declaration.withdraw()
    drive.poll()
    assert declaration.stage is Stage.ENDED


def test_a_withdrawal_after_a_put_without_an_answer_is_confirmed() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    grant(drive)
    lost, _ = put_of(drive)
    drive.answer(lost, error=OutcomeUnknown("lost"))
    declaration.withdraw()
    drive.answer(drive.take(Commit), DONE)
    assert declaration.stage is Stage.LEAVING
    while declaration.stage is not Stage.ENDED:
        for duty in drive.poll():
            drive.duties.remove(duty)
            if isinstance(duty, Commit):
                assert duty.sent >= lost.deadline + SERVER_REQUEST_TIMEOUT
            drive.answer(duty, DONE if isinstance(duty, Commit) else 10)
        due = drive.due_in()
        drive.clock.advance(max(0.0, due or 0.0))


def test_closing_ends_declarations_and_revokes() -> None:
    drive = Drive()
    declaration = settled(drive)
    told: list[Stage] = []
    declaration.subscribe(lambda: told.append(declaration.stage))
    drive.keeper.close(drive.clock.now() + 1)
    assert declaration.stage is Stage.ENDED
    assert isinstance(declaration.error, ClosedError)
    assert told == [Stage.ENDED]
    drive.answer(drive.take(Revoke))
    assert drive.keeper.closed
    with pytest.raises(ClosedError):
        drive.keeper.declare(b"k", b"1", 10)


def test_one_request_at_a_time_so_that_none_overtakes_another() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"old", 10)
    grant(drive)
    first, _ = put_of(drive)
    declaration.update(b"new")
    assert not drive.poll(), "both under way, the older one might be applied last"
    drive.answer(first, DONE)
    second, put = put_of(drive)
    assert put.value == b"new"
    declaration.withdraw()
    assert not drive.poll(), "the put might be applied after the deletion"
    drive.answer(second, DONE)
    drive.answer(drive.take(Commit), DONE)
    assert declaration.stage is Stage.ENDED


def test_a_confirmation_that_fails_is_repeated() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"old", 60)
    grant(drive)
    lost, _ = put_of(drive)
    drive.answer(lost, error=OutcomeUnknown("lost"))
    drive.clock.advance(1)
    drive.answer(put_of(drive)[0], DONE)
    drive.clock.move_to(lost.deadline + SERVER_REQUEST_TIMEOUT)
    drive.answer(put_of(drive)[0], error=Unavailable("down"))
    assert declaration.lease is not None
    drive.clock.advance(1)
    drive.answer(put_of(drive)[0], DONE)
    drive.clock.advance(1)
    assert not drive.poll()


def test_a_key_is_kept_once() -> None:
    drive = Drive()
    declaration = settled(drive)
    with pytest.raises(UsageError, match="already"):
        drive.keeper.declare(b"k", b"2", 10)
    declaration.withdraw()
    drive.answer(drive.take(Commit), DONE)
    drive.keeper.declare(b"k", b"2", 10)
    assert put_of(drive)[1].value == b"2"


def test_a_key_declared_anew_is_not_deleted_by_the_one_before() -> None:
    drive = Drive()
    settled(drive).withdraw()
    deletion = drive.take(Commit)
    fresh = drive.keeper.declare(b"k", b"2", 60)
    grant(drive)
    assert not drive.poll(), "the deletion under way might be applied after the put"
    drive.answer(deletion, error=OutcomeUnknown("lost"))
    commit, put = put_of(drive)
    assert put.value == b"2"
    drive.answer(commit, DONE)
    assert fresh.lease is not None
    drive.clock.advance(20)
    assert not [duty for duty in drive.poll() if isinstance(duty, Commit)]
    meant = deletion.request.compares[1]
    assert (meant.key, meant.attribute, meant.operand) == (b"k", Attribute.MOD, DONE.header.revision + 1), (
        "a deletion that comes late finds the newer put"
    )


def test_a_deletion_that_finds_a_put_whose_answer_was_lost_is_made_for_that_one_too() -> None:
    drive = Drive()
    declaration = drive.keeper.declare(b"k", b"1", 10)
    lease = grant(drive)
    drive.answer(put_of(drive)[0], error=OutcomeUnknown("lost"))
    declaration.withdraw()
    found = KeyValue(b"k", mod_revision=9, lease=lease)
    drive.answer(drive.take(Commit), TxnResult(Header(revision=9), False, (RangeResult(Header(), (found,)),)))
    second = drive.take(Commit)
    assert second.request.compares[1].operand == 10
    assert declaration.stage is Stage.LEAVING


def test_a_key_declared_anew_before_its_deletion_was_sent_is_put_over() -> None:
    drive = Drive()
    settled(drive).withdraw()
    drive.keeper.declare(b"k", b"2", 10)
    assert put_of(drive)[1].value == b"2"


def test_a_deletion_that_is_refused_for_good_is_not_repeated() -> None:
    drive = Drive()
    declaration = settled(drive)
    declaration.withdraw()
    drive.answer(drive.take(Commit), error=PermissionDenied("no", code=7, text="no"))
    assert declaration.stage is Stage.ENDED


def test_nothing_is_polled_in_vain_while_a_session_is_asked_for() -> None:
    drive = Drive()
    declaration = settled(drive)
    drive.clock.advance(5)
    drive.answer(drive.take(Renew), 0)
    asked = drive.take(Grant)
    declaration.update(b"2")
    drive.poll()
    due = drive.due_in()
    assert due is None or due > 0
    drive.answer(asked, LeaseGrant(asked.lease, asked.ttl))
    assert put_of(drive)[1].value == b"2"
