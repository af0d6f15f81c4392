"""Watch: history, future start, compacted start, progress, restart."""

import pytest

from coord.wire.rpc_pb2 import WatchResponse
from tests.conformance.wire import end_of, op_delete, op_put
from tests.waiting import until

COMPACTED = "etcdserver: mvcc: required revision has been compacted"


def test_history_is_replayed_from_the_start_revision_inclusively(wire, prefix):
    written = [wire.put(prefix, b"%d" % number).header.revision for number in range(5)]
    stream = wire.watch()
    stream.create(prefix, start_revision=written[2])
    assert [event.kv.mod_revision for event in stream.events(3)] == written[2:]


def test_live_events_follow_history_without_gap(wire, prefix):
    written = [wire.put(prefix).header.revision for _ in range(3)]
    stream = wire.watch()
    stream.create(prefix, start_revision=written[0])
    written += [wire.put(prefix).header.revision for _ in range(3)]
    assert [event.kv.mod_revision for event in stream.events(6)] == written


def test_history_has_deletes(wire, prefix):
    first = wire.put(prefix).header.revision
    wire.delete(prefix)
    wire.put(prefix)
    stream = wire.watch()
    stream.create(prefix, start_revision=first)
    assert [(event.type, event.kv.version) for event in stream.events(3)] == [(0, 1), (1, 0), (0, 1)]


def test_history_of_a_range_is_ordered_by_revision(wire, prefix):
    first = wire.put(prefix + b"c").header.revision
    wire.txn(success=[op_put(prefix + b"b"), op_delete(prefix + b"c"), op_put(prefix + b"a")])
    wire.put(prefix + b"a")
    stream = wire.watch()
    stream.create(prefix, end_of(prefix), start_revision=first)
    shown = [(event.type, event.kv.key[-1:]) for event in stream.events(5)]
    assert shown == [(0, b"c"), (0, b"b"), (1, b"c"), (0, b"a"), (0, b"a")]


def test_history_of_other_keys_is_not_sent(wire, prefix):
    first = wire.put(prefix + b"other").header.revision
    wire.put(prefix + b"mine")
    stream = wire.watch()
    stream.create(prefix + b"mine", start_revision=first)
    assert [event.kv.key for event in stream.events(1)] == [prefix + b"mine"]


def test_one_transaction_is_not_torn_in_history(wire, prefix):
    first = wire.put(prefix + b"0").header.revision
    second = wire.txn(success=[op_put(prefix + b"%d" % number) for number in range(50)]).header.revision
    stream = wire.watch()
    stream.create(prefix, end_of(prefix), start_revision=second)
    assert len(stream.receive().events) == 50
    assert second == first + 1


@pytest.mark.surprise(18)
def test_history_comes_in_batches_of_a_thousand_revisions(fresh):
    wire = fresh()
    for number in range(1501):
        wire.put(b"k", b"%d" % number)
    revision = wire.put(b"other").header.revision
    stream = wire.watch()
    stream.create(b"k", start_revision=2)
    batches: list[WatchResponse] = []
    while sum(len(batch.events) for batch in batches) < 1501:
        batches.append(stream.receive())
    assert len(batches) > 1
    assert all(len(batch.events) <= 1000 for batch in batches)
    # the revision of the store at that moment, not of the last event
    assert {batch.header.revision for batch in batches} == {revision}
    assert [event.kv.version for batch in batches for event in batch.events] == list(range(1, 1502))


def test_current_revision_as_start_shows_the_last_change(wire, prefix):
    revision = wire.put(prefix, b"last").header.revision
    stream = wire.watch()
    stream.create(prefix, start_revision=revision)
    assert stream.events(1)[0].kv.value == b"last"


def test_next_revision_as_start_is_live(wire, prefix):
    revision = wire.put(prefix, b"before").header.revision
    stream = wire.watch()
    stream.create(prefix, start_revision=revision + 1)
    wire.put(prefix, b"after")
    assert stream.events(1)[0].kv.value == b"after"


def test_future_start_skips_what_is_below(wire, prefix):
    revision = wire.revision()
    stream = wire.watch()
    reply = stream.create(prefix, start_revision=revision + 4)
    assert reply.header.revision == revision
    written = [wire.put(prefix).header.revision for _ in range(5)]
    assert [event.kv.mod_revision for event in stream.events(2)] == written[3:]


def test_start_zero_does_not_show_the_past(wire, prefix):
    wire.put(prefix, b"past")
    stream = wire.watch()
    stream.create(prefix)
    wire.put(prefix, b"now")
    assert stream.events(1)[0].kv.value == b"now"


@pytest.mark.surprise(15)
def test_compacted_start_is_created_and_then_cancelled(compacting, prefix):
    old = compacting.put(prefix).header.revision
    at = compacting.put(prefix).header.revision
    compacting.compact(at)
    stream = compacting.watch()
    created = stream.create(prefix, start_revision=old)
    assert (created.canceled, created.watch_id, created.compact_revision) == (False, 0, 0)
    cancelled = stream.receive()
    assert (cancelled.created, cancelled.canceled, cancelled.watch_id) == (False, True, 0)
    assert (cancelled.compact_revision, cancelled.header.revision) == (at, 0)
    assert (cancelled.cancel_reason, list(cancelled.events)) == ("", [])


def test_stream_goes_on_after_a_compacted_watcher(compacting, prefix):
    old = compacting.put(prefix).header.revision
    compacting.compact(compacting.put(prefix).header.revision)
    stream = compacting.watch()
    stream.create(prefix, start_revision=old)
    assert stream.receive().canceled
    assert not stream.create(prefix).canceled
    compacting.put(prefix)
    assert len(stream.receive().events) == 1


def test_start_at_the_compacted_revision_is_allowed(compacting, prefix):
    at = compacting.put(prefix, b"1").header.revision
    compacting.put(prefix, b"2")
    compacting.compact(at)
    stream = compacting.watch()
    stream.create(prefix, start_revision=at)
    assert [event.kv.value for event in stream.events(2)] == [b"1", b"2"]


def test_live_watcher_survives_a_compaction(compacting, prefix):
    stream = compacting.watch()
    stream.create(prefix)
    compacting.put(prefix, b"1")
    compacting.compact(compacting.put(prefix, b"2").header.revision, physical=True)
    compacting.put(prefix, b"3")
    assert [event.kv.value for event in stream.events(3)] == [b"1", b"2", b"3"]


def test_watcher_of_the_future_survives_a_compaction_below_it(compacting, prefix):
    revision = compacting.put(prefix).header.revision
    stream = compacting.watch()
    stream.create(prefix, start_revision=revision + 3)
    compacting.put(prefix)
    compacting.compact(revision + 1)
    compacting.put(prefix)
    assert [compacting.put(prefix).header.revision, stream.events(1)[0].kv.mod_revision] == [revision + 3] * 2


def test_negative_start(compacting, prefix, expected):
    compacting.compact(compacting.put(prefix).header.revision)
    stream = compacting.watch()
    reply = stream.create(prefix, start_revision=-1)
    if expected("watch: negative start_revision") == "one reply":
        assert (reply.canceled, reply.watch_id, reply.cancel_reason) == (True, -1, COMPACTED)
    else:
        assert not reply.canceled
        assert stream.receive().compact_revision > 0


def test_stream_goes_on_after_a_negative_start(wire, prefix, expected):
    stream = wire.watch()
    reply = stream.create(prefix, start_revision=-5)
    if expected("watch: negative start_revision, never compacted") == "created":
        assert stream.receive().compact_revision == -1
    else:
        assert reply.canceled
    assert not stream.create(prefix).canceled


def test_progress_of_a_synced_stream(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    revision = wire.put(prefix + b"other").header.revision

    def answered():
        stream.progress()
        return stream.receive()

    response = until(answered, "progress")
    assert (response.watch_id, response.header.revision, list(response.events)) == (-1, revision, [])
    assert not response.created
    assert not response.canceled


def test_progress_comes_after_the_events_before_it(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    revision = 0
    for _ in range(20):
        revision = wire.put(prefix).header.revision
    stream.events(20)
    stream.progress()
    assert stream.receive().header.revision == revision


@pytest.mark.surprise(20)
def test_progress_without_watchers(wire, prefix, expected):
    stream = wire.watch()
    stream.progress()
    stream.request_create(prefix)
    first = stream.receive()
    if expected("watch: progress without watchers") == "answered":
        assert first.watch_id == -1
        assert stream.receive().created
    else:
        assert first.created


def test_progress_after_the_last_watcher_was_cancelled(wire, prefix, expected):
    stream = wire.watch()
    stream.create(prefix)
    stream.cancel(0)
    assert stream.receive().canceled
    stream.progress()
    stream.request_create(prefix)
    first = stream.receive()
    assert first.created == (expected("watch: progress after the last cancel") == "dropped")


def test_progress_with_a_watcher_of_the_future(wire, prefix, expected):
    stream = wire.watch()
    stream.create(prefix, start_revision=wire.revision() + 1000)
    stream.progress()
    stream.request_create(prefix)
    first = stream.receive()
    assert first.created == (expected("watch: progress with a future watcher") == "dropped")


def test_progress_notification(fresh, server_kind):
    flag = (
        "watch-progress-notify-interval" if server_kind == "bundled" else "experimental-watch-progress-notify-interval"
    )
    wire = fresh(f"--{flag}=200ms")
    revision = wire.put(b"other").header.revision
    stream = wire.watch()
    stream.create(b"k", progress_notify=True, watch_id=4)
    stream.create(b"k")
    notice = stream.receive()
    assert (notice.watch_id, notice.header.revision, list(notice.events)) == (4, revision, [])
    revision = wire.put(b"k").header.revision
    assert {stream.receive().watch_id for _ in range(2)} <= {0, 4}
    following = until(lambda: (m := stream.receive()) and not m.events and m, "the notice after the events")
    assert (following.watch_id, following.header.revision) == (4, revision)


def test_watch_resumes_over_a_restart_of_the_server(fresh):
    wire = fresh()
    first = wire.put(b"k", b"1").header.revision
    wire.put(b"k", b"2")
    before = wire.watch()
    before.create(b"k")
    wire.server.restart()
    assert before.status()[0].name == "UNAVAILABLE"
    wire.put(b"k", b"3")
    stream = wire.watch()
    stream.create(b"k", start_revision=first)
    assert [event.kv.value for event in stream.events(3)] == [b"1", b"2", b"3"]


def test_slow_reader_gets_every_event(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, end_of(prefix))
    value = b"x" * 20_000
    written = [wire.put(prefix, value).header.revision for _ in range(400)]  # more than the transport buffers
    assert [event.kv.mod_revision for event in stream.events(400)] == written
