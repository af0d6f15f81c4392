"""The watch stream machine, one rule after the other; `test_watching_random.py` runs it against a random server."""

from __future__ import annotations

import random

import pytest

from coord import statuses
from coord.client.watch.actions import (
    Action,
    CloseStream,
    Deliver,
    Fail,
    OpenStream,
    Ready,
    SendCancel,
    SendCreate,
    Verify,
    WatchSpec,
    weight,
)
from coord.client.watch.watching import IDLE_SECONDS, PATIENCE_SECONDS, SILENCE_SECONDS, WatchStream
from coord.errors import (
    AuthenticationFailed,
    ClosedError,
    Compacted,
    HistoryLost,
    PermissionDenied,
    ServerBug,
    Unavailable,
    WatchLost,
)
from coord.model import Event, EventKind, Header, KeyValue, WatchBatch
from coord.wire.watch import WatchReply

UNREACHABLE = Unavailable("gone", code=14)
STALE = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
DENIED = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"


def header(revision: int, cluster: int = 7) -> Header:
    return Header(cluster_id=cluster, revision=revision)


def event(revision: int, key: bytes = b"k", value: bytes = b"v") -> Event:
    return Event(EventKind.PUT, KeyValue(key, value, revision, revision, 1))


def created(watch_id: int, revision: int) -> WatchReply:
    return WatchReply(header(revision), watch_id, created=True)


def news(watch_id: int, *revisions: int, fragment: bool = False, at: int = 0) -> WatchReply:
    events = [event(revision) for revision in revisions]
    return WatchReply(header(at or max(revisions)), watch_id, fragment=fragment, events=events)


def refused(reason: str, watch_id: int = -1) -> WatchReply:
    return WatchReply(header(1), watch_id, created=True, canceled=True, reason=reason)


def machine(*, authenticated: bool = False) -> WatchStream:
    return WatchStream(authenticated=authenticated, rng=random.Random(1))


def opened(*specs: WatchSpec, authenticated: bool = False) -> WatchStream:
    """A machine with an open stream and these watchers live, under tokens and ids 0, 1, …, at revision 10."""
    stream = machine(authenticated=authenticated)
    for token, spec in enumerate(specs):
        stream.add(token, spec, 0.0)
    stream.on_open(0.0)
    for token in range(len(specs)):
        stream.on_reply(created(token, 10), 0.0)
    return stream


def revisions(actions: list[Action]) -> list[int]:
    return [action.batch.revision for action in actions if isinstance(action, Deliver)]


def reopened(stream: WatchStream, now: float) -> list[Action]:
    due = stream.next_wake()
    assert due is not None
    assert stream.tick(max(now, due)) == [OpenStream()]
    return stream.on_open(max(now, due))


def test_the_first_watcher_opens_the_stream_and_is_created_on_it() -> None:
    stream = machine()
    assert stream.add(1, WatchSpec(b"a", b"b", 5, puts=False, previous=True, progress=True), 0.0) == [OpenStream()]
    assert stream.on_open(0.0) == [SendCreate(b"a", b"b", 5, puts=False, previous=True, progress=True)]


def test_creates_are_sent_one_at_a_time() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.add(2, WatchSpec(b"b"), 0.0)
    assert stream.on_open(0.0) == [SendCreate(b"a", b"", 0)]
    assert stream.add(3, WatchSpec(b"c"), 0.0) == []
    assert stream.on_reply(created(0, 4), 0.0) == [Ready(1, 4), SendCreate(b"b", b"", 0)]
    assert stream.on_reply(created(1, 5), 0.0) == [Ready(2, 5), SendCreate(b"c", b"", 0)]
    assert stream.on_reply(created(2, 6), 0.0) == [Ready(3, 6)]


def test_a_reply_with_several_revisions_becomes_one_batch_for_each() -> None:
    stream = opened(WatchSpec(b"k"))
    reply = WatchReply(header(99), 0, events=[event(11, b"a"), event(11, b"b"), event(12), event(15)])
    assert stream.on_reply(reply, 0.0) == [
        Deliver(0, WatchBatch(11, (event(11, b"a"), event(11, b"b")))),
        Deliver(0, WatchBatch(12, (event(12),))),
        Deliver(0, WatchBatch(15, (event(15),))),
    ]


def test_a_watch_from_now_is_pinned_to_its_confirmation() -> None:
    stream = opened(WatchSpec(b"k"))
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 11)]


def test_what_a_pinned_watch_gets_from_before_its_confirmation_is_not_delivered() -> None:
    # The server registers the watcher first and reads the revision of its reply later, so such events exist.
    stream = opened(WatchSpec(b"k"))
    assert revisions(stream.on_reply(news(0, 10, 11), 0.0)) == [11]


def test_it_resumes_after_the_last_delivered_revision_and_not_after_the_reply_header() -> None:
    # While it catches up, the header names the revision of the store, not that of the last event.
    stream = opened(WatchSpec(b"k", from_revision=3))
    assert revisions(stream.on_reply(news(0, 3, 4, at=90), 0.0)) == [3, 4]
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 5)]


def test_what_comes_twice_after_a_reconnect_is_delivered_once() -> None:
    stream = opened(WatchSpec(b"k", from_revision=3))
    stream.on_reply(news(0, 3, 4), 0.0)
    stream.on_stream_error(UNREACHABLE, 1.0)
    reopened(stream, 1.0)
    stream.on_reply(created(0, 10), 1.0)
    assert revisions(stream.on_reply(news(0, 4, 5), 1.0)) == [5]


def test_fragments_are_joined_and_whole_revisions_are_not_held_back() -> None:
    stream = opened(WatchSpec(b"k", from_revision=1))
    first = WatchReply(header(20), 0, fragment=True, events=[event(11), event(12, b"a")])
    last = WatchReply(header(20), 0, events=[event(12, b"b"), event(13)])
    assert stream.on_reply(first, 0.0) == [Deliver(0, WatchBatch(11, (event(11),)))]
    assert stream.on_reply(last, 0.0) == [
        Deliver(0, WatchBatch(12, (event(12, b"a"), event(12, b"b")))),
        Deliver(0, WatchBatch(13, (event(13),))),
    ]


def test_half_a_revision_is_forgotten_when_the_stream_breaks() -> None:
    stream = opened(WatchSpec(b"k", from_revision=1))
    stream.on_reply(news(0, 11, 12, fragment=True), 0.0)
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 12)]
    stream.on_reply(created(0, 20), 1.0)
    assert revisions(stream.on_reply(news(0, 12), 1.0)) == [12]


def test_a_periodic_mark_moves_the_resume_point() -> None:
    stream = opened(WatchSpec(b"k"))
    assert stream.on_reply(WatchReply(header(50), 0), 0.0) == []
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 51)]


def test_a_periodic_mark_is_delivered_to_who_wants_it() -> None:
    stream = opened(WatchSpec(b"k", progress=True))
    assert stream.on_reply(WatchReply(header(50), 0), 0.0) == [Deliver(0, WatchBatch(50))]


def test_the_answer_to_a_progress_request_moves_nothing() -> None:
    # etcd before 3.4.25 and 3.5.8 sends it ahead of events that are still on their way.
    stream = opened(WatchSpec(b"k", progress=True))
    assert stream.on_reply(WatchReply(header(50), -1), 0.0) == []
    assert revisions(stream.on_reply(news(0, 11), 0.0)) == [11]


def test_a_mark_below_a_future_start_does_not_pull_it_back() -> None:
    stream = opened(WatchSpec(b"k", from_revision=100))
    stream.on_reply(WatchReply(header(50), 0), 0.0)
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 100)]


def test_removal_cancels_and_late_events_go_nowhere() -> None:
    stream = opened(WatchSpec(b"k"), WatchSpec(b"l"))
    assert stream.remove(0, 1.0) == [SendCancel(0)]
    assert stream.on_reply(news(0, 11), 1.0) == []
    assert stream.on_reply(WatchReply(header(11), 0, canceled=True), 1.0) == []
    assert revisions(stream.on_reply(news(1, 11), 1.0)) == [11]
    assert stream.remove(0, 1.0) == []


def test_removal_before_the_confirmation_cancels_at_the_confirmation() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.on_open(0.0)
    assert stream.remove(1, 0.0) == []
    stream.add(1, WatchSpec(b"b"), 0.0)
    assert stream.on_reply(created(5, 4), 0.0) == [SendCancel(5), SendCreate(b"b", b"", 0)]


def test_removal_while_queued_sends_nothing() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.add(2, WatchSpec(b"b"), 0.0)
    stream.on_open(0.0)
    stream.remove(2, 0.0)
    assert stream.on_reply(created(0, 4), 0.0) == [Ready(1, 4)]


def test_compaction_fails_its_watcher_alone() -> None:
    stream = opened(WatchSpec(b"k", from_revision=2), WatchSpec(b"l"))
    [failed] = stream.on_reply(WatchReply(Header(), 0, canceled=True, compact_revision=9), 0.0)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, Compacted)
    assert (failed.token, failed.error.compact_revision) == (0, 9)
    assert revisions(stream.on_reply(news(1, 11), 1.0)) == [11]


def test_a_watcher_refused_in_its_confirmation_fails_and_the_next_is_created() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.add(2, WatchSpec(b"b"), 0.0)
    stream.on_open(0.0)
    failed, following = stream.on_reply(refused(statuses.WATCH_EMPTY_RANGE), 0.0)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, WatchLost)
    assert following == SendCreate(b"b", b"", 0)


def test_a_refusal_by_permission_fails_at_once_without_a_user() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.on_open(0.0)
    [failed] = stream.on_reply(refused(DENIED), 0.0)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, PermissionDenied)


@pytest.mark.parametrize("reason", [STALE, DENIED])
def test_a_refused_token_is_renewed_and_the_watch_created_again(reason: str) -> None:
    # etcd 3.5.0 to 3.5.5 call a stale token "permission denied" and reply with the id 0 of a real watcher.
    stream = opened(WatchSpec(b"k"), authenticated=True)
    stream.add(1, WatchSpec(b"a"), 1.0)
    assert stream.on_reply(refused(reason, watch_id=0), 1.0) == [CloseStream()]
    due = stream.next_wake()
    assert due is not None
    assert stream.tick(due) == [OpenStream(reauthenticate=True)]
    assert stream.on_open(due) == [SendCreate(b"k", b"", 11)]
    assert stream.on_reply(created(0, 10), due) == [SendCreate(b"a", b"", 0)]
    assert stream.on_reply(created(1, 10), due) == [Ready(1, 10)]


def test_a_permission_refused_again_with_a_new_token_is_final() -> None:
    stream = opened(authenticated=True)
    stream.add(1, WatchSpec(b"a"), 1.0)
    stream.on_open(1.0)
    stream.on_reply(refused(DENIED), 1.0)
    due = stream.next_wake() or 0.0
    stream.tick(due)
    stream.on_open(due)
    [failed] = stream.on_reply(refused(DENIED), due)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, PermissionDenied)


def test_a_token_that_stays_refused_is_given_up() -> None:
    stream = machine(authenticated=True)
    stream.add(1, WatchSpec(b"a"), 0.0)
    now = 0.0
    for _ in range(10):
        stream.on_open(now)
        actions = stream.on_reply(refused(STALE), now)
        if isinstance(actions[0], Fail):
            assert isinstance(actions[0].error, AuthenticationFailed)
            return
        now = stream.next_wake() or now
        stream.tick(now)
    pytest.fail("it logs in for ever")


def test_a_watcher_ended_without_a_reason_is_created_again() -> None:
    stream = opened(WatchSpec(b"k"))
    assert stream.on_reply(WatchReply(header(12), 0, canceled=True), 1.0) == [CloseStream()]
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 11)]


@pytest.mark.parametrize("code", [statuses.UNAVAILABLE, statuses.INTERNAL, statuses.CANCELLED, statuses.UNKNOWN])
def test_passing_stream_errors_reopen(code: int) -> None:
    stream = opened(WatchSpec(b"k"))
    assert stream.on_stream_error(ServerBug("x", code=code), 1.0) == []
    assert reopened(stream, 1.0) == [SendCreate(b"k", b"", 11)]


def test_a_fatal_stream_error_fails_every_watcher() -> None:
    stream = opened(WatchSpec(b"k"), WatchSpec(b"l"))
    error = ClosedError("closed")
    assert stream.on_stream_error(error, 1.0) == [Fail(0, error), Fail(1, error)]
    assert stream.next_wake() is None


def test_delays_grow_while_nothing_works_and_start_over_after_a_success() -> None:
    stream = opened(WatchSpec(b"k"))
    delays, now = [], 0.0
    for _ in range(12):
        stream.on_stream_error(UNREACHABLE, now)
        due = stream.next_wake() or 0.0
        delays.append(due - now)
        stream.tick(due)
        now = due
    assert delays[0] <= 0.05
    assert delays[-1] >= 1.0
    assert max(delays) <= 2.0
    stream.on_open(now)
    stream.on_reply(created(0, 10), now)
    stream.on_stream_error(UNREACHABLE, now)
    assert (stream.next_wake() or 0.0) - now <= 0.05


def test_a_silent_stream_is_asked_and_found_alive() -> None:
    stream = opened(WatchSpec(b"k"))
    assert stream.next_wake() == SILENCE_SECONDS
    [question] = stream.tick(SILENCE_SECONDS)
    assert isinstance(question, SendCreate)
    assert question.range_end == question.key  # an empty range: always refused at once, kept by nobody
    assert stream.on_reply(refused(statuses.WATCH_EMPTY_RANGE), SILENCE_SECONDS + 1) == []
    assert stream.next_wake() == 2 * SILENCE_SECONDS + 1


def test_a_stream_that_does_not_answer_is_dead() -> None:
    stream = opened(WatchSpec(b"k"))
    stream.tick(SILENCE_SECONDS)
    late = SILENCE_SECONDS + PATIENCE_SECONDS
    assert stream.tick(late) == [CloseStream(dead=True)]
    assert reopened(stream, late) == [SendCreate(b"k", b"", 11)]


def test_a_create_that_is_not_answered_means_a_dead_stream_too() -> None:
    stream = machine()
    stream.add(1, WatchSpec(b"a"), 0.0)
    stream.on_open(0.0)
    assert stream.tick(PATIENCE_SECONDS) == [CloseStream(dead=True)]


def test_a_stream_without_watchers_is_closed_after_a_while() -> None:
    stream = opened(WatchSpec(b"k"))
    stream.remove(0, 3.0)
    assert stream.wants_stream
    assert stream.next_wake() == 3.0 + IDLE_SECONDS
    assert stream.tick(3.0 + IDLE_SECONDS) == [CloseStream()]
    assert not stream.wants_stream


def test_a_broken_stream_without_watchers_is_not_opened_again() -> None:
    stream = opened(WatchSpec(b"k"))
    stream.remove(0, 3.0)
    stream.on_stream_error(UNREACHABLE, 4.0)
    assert not stream.wants_stream
    assert stream.next_wake() is None


def small(value: bytes = b"v") -> int:
    return weight(WatchBatch(1, (event(1, value=value),)))


def test_a_slow_reader_pauses_its_watcher_at_the_bound_and_nobody_elses() -> None:
    stream = opened(WatchSpec(b"k", capacity=2 * small()), WatchSpec(b"l"))
    assert revisions(stream.on_reply(news(0, 11, 12), 0.0)) == [11, 12]
    assert stream.on_reply(news(0, 13), 0.0) == [SendCancel(0)]
    assert stream.on_reply(news(0, 14), 0.0) == []
    assert revisions(stream.on_reply(news(1, 13), 0.0)) == [13]


def test_a_paused_watcher_resumes_where_its_reader_is_once_half_is_free() -> None:
    stream = opened(WatchSpec(b"k", capacity=4 * small()))
    stream.on_reply(news(0, 11, 12, 13, 14, 15), 0.0)
    assert stream.consumed(0, small(), 0.0) == []
    assert stream.consumed(0, small(), 0.0) == [SendCreate(b"k", b"", 15)]
    stream.on_reply(created(1, 20), 0.0)
    assert revisions(stream.on_reply(news(1, 15, 16), 0.0)) == [15, 16]


def test_a_batch_larger_than_the_bound_is_delivered_all_the_same() -> None:
    stream = opened(WatchSpec(b"k", capacity=10))
    assert revisions(stream.on_reply(news(0, 11, 12), 0.0)) == [11]


def test_a_paused_watcher_is_not_created_again_by_a_reconnect() -> None:
    stream = opened(WatchSpec(b"k", capacity=1), WatchSpec(b"l"))
    stream.on_reply(news(0, 11, 12), 0.0)
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert reopened(stream, 1.0) == [SendCreate(b"l", b"", 11)]
    stream.on_reply(created(0, 12), 1.0)
    assert stream.consumed(0, small(), 1.0) == [SendCreate(b"k", b"", 12)]


def test_another_cluster_is_a_lost_history_once() -> None:
    stream = opened(WatchSpec(b"k"))
    closing, failed = stream.on_reply(WatchReply(header(11, cluster=8), 0, events=[event(11)]), 0.0)
    assert closing == CloseStream()
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, HistoryLost)
    stream.add(1, WatchSpec(b"a"), 1.0)
    stream.on_open(1.0)
    assert stream.on_reply(WatchReply(header(3, cluster=8), 0, created=True), 1.0) == [Ready(1, 3)]


def behind(stream: WatchStream) -> list[Action]:
    """After revision 30 was seen, a reconnect finds a member at revision 20."""
    stream.on_reply(news(0, 30), 0.0)
    stream.on_stream_error(UNREACHABLE, 1.0)
    reopened(stream, 1.0)
    return stream.on_reply(created(0, 20), 1.0)


def test_a_member_that_shows_less_is_verified_and_may_only_lag() -> None:
    stream = opened(WatchSpec(b"k"))
    assert behind(stream) == [Verify(b"k")]
    assert stream.on_verified(30, 1.0) == []
    assert revisions(stream.on_reply(news(0, 31), 1.0)) == [31]


def test_a_store_that_went_back_is_a_lost_history() -> None:
    stream = opened(WatchSpec(b"k"))
    behind(stream)
    closing, failed = stream.on_verified(20, 1.0)
    assert closing == CloseStream()
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, HistoryLost)


@pytest.mark.parametrize("cluster", [7, 8])
def test_a_loss_that_others_noticed_is_not_noticed_again(cluster: int) -> None:
    """Opened after a call had told of the loss, a watch took the floor of before for another one."""
    stream = opened(WatchSpec(b"k"))
    stream.on_reply(news(0, 30), 0.0)
    lost = HistoryLost("a call noticed it")
    assert stream.on_history_lost(lost) == [CloseStream(), Fail(0, lost)]
    assert stream.add(1, WatchSpec(b"k"), 1.0) == [OpenStream()]
    stream.on_open(1.0)
    assert stream.on_reply(WatchReply(header(3, cluster), 0, created=True), 1.0) == [Ready(1, 3)]


def test_a_loss_noticed_while_the_stream_is_down_or_being_opened() -> None:
    lost = HistoryLost("a call noticed it")
    stream = opened(WatchSpec(b"k"))
    stream.on_stream_error(UNREACHABLE, 1.0)
    assert stream.on_history_lost(lost) == [Fail(0, lost)]
    assert not stream.wants_stream
    stream = machine()
    assert stream.add(0, WatchSpec(b"k"), 0.0) == [OpenStream()]
    assert stream.on_history_lost(lost) == [Fail(0, lost)]
    assert stream.on_open(1.0) == [], "the shell opens it all the same"
    assert stream.add(1, WatchSpec(b"l"), 1.0) == [SendCreate(b"l", b"", 0)]


def test_a_verification_that_failed_decides_nothing() -> None:
    stream = opened(WatchSpec(b"k"))
    behind(stream)
    assert stream.on_verified(0, 1.0) == []


def test_late_news_of_a_closed_stream_is_ignored() -> None:
    stream = opened(WatchSpec(b"k"))
    stream.tick(SILENCE_SECONDS)
    stream.tick(SILENCE_SECONDS + PATIENCE_SECONDS)
    assert stream.on_reply(news(0, 11), 20.0) == []
    assert stream.on_stream_error(UNREACHABLE, 20.0) == []


def test_close_ends_the_stream() -> None:
    stream = opened(WatchSpec(b"k"))
    assert stream.close() == [CloseStream()]
    assert stream.close() == []
    assert stream.next_wake() is None
