"""Watch: ids, creation, refusals of creation, cancellation, empty requests, half-close."""

import pytest

from coord.wire import rpc_pb2
from tests.conformance.wire import end_of

EMPTY_RANGE = "mvcc: watcher range is empty"
DUPLICATE = "mvcc: duplicate watch ID provided on the WatchStream"


def test_created_reply(wire, prefix):
    revision = wire.put(prefix).header.revision
    reply = wire.watch().create(prefix)
    assert (reply.created, reply.canceled, reply.watch_id, reply.cancel_reason) == (True, False, 0, "")
    assert (reply.header.revision, list(reply.events), reply.compact_revision) == (revision, [], 0)


def test_header_of_the_created_reply_has_the_ids(wire, prefix):
    header = wire.put(prefix).header
    reply = wire.watch().create(prefix)
    assert (reply.header.cluster_id, reply.header.member_id) == (header.cluster_id, header.member_id)
    assert reply.header.raft_term == header.raft_term


def test_ids_count_from_zero_on_each_stream(wire, prefix):
    first, second = wire.watch(), wire.watch()
    assert [first.create(prefix).watch_id for _ in range(3)] == [0, 1, 2]
    assert second.create(prefix).watch_id == 0


@pytest.mark.parametrize("watch_id", [7, 2**62, -5], ids=["small", "large", "negative"])
def test_wished_id_is_used(wire, prefix, watch_id):
    stream = wire.watch()
    assert stream.create(prefix, watch_id=watch_id).watch_id == watch_id
    wire.put(prefix)
    assert stream.receive().watch_id == watch_id


def test_automatic_ids_skip_those_in_use(wire, prefix):
    stream = wire.watch()
    assert stream.create(prefix, watch_id=1).watch_id == 1
    assert [stream.create(prefix).watch_id for _ in range(2)] == [0, 2]


@pytest.mark.surprise(16)
def test_duplicate_id_is_refused_and_the_old_watcher_lives(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, watch_id=5)
    reply = stream.create(prefix + b"x", watch_id=5)
    assert (reply.canceled, reply.watch_id, reply.cancel_reason) == (True, -1, DUPLICATE)
    wire.put(prefix)
    assert stream.receive().watch_id == 5


def test_id_can_be_used_again_after_its_cancel(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, watch_id=5)
    stream.cancel(5)
    assert stream.receive().canceled
    reply = stream.create(prefix + b"new", watch_id=5)
    assert (reply.canceled, reply.watch_id) == (False, 5)
    wire.put(prefix + b"new")
    assert stream.receive().events[0].kv.key == prefix + b"new"


@pytest.mark.surprise(2)
@pytest.mark.parametrize("end", [b"a", b"c"], ids=["smaller", "equal"])
def test_empty_range_is_refused(wire, prefix, end):
    stream = wire.watch()
    reply = stream.create(prefix + b"c", prefix + end)
    assert (reply.canceled, reply.watch_id, reply.cancel_reason) == (True, -1, EMPTY_RANGE)


def test_stream_goes_on_after_a_refused_creation(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"c", prefix + b"a")
    assert stream.create(prefix).watch_id == 0
    wire.put(prefix)
    assert len(stream.receive().events) == 1


def test_cancel(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    revision = wire.put(prefix + b"other").header.revision
    stream.cancel(0)
    reply = stream.receive()
    assert (reply.created, reply.canceled, reply.watch_id, reply.cancel_reason) == (False, True, 0, "")
    assert (reply.header.revision, reply.compact_revision, list(reply.events)) == (revision, 0, [])


def test_no_event_follows_a_cancel(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, watch_id=1)
    stream.create(prefix, watch_id=2)
    stream.cancel(1)
    assert stream.receive().canceled
    wire.put(prefix)
    wire.put(prefix)
    assert [stream.receive().watch_id for _ in range(2)] == [2, 2]


@pytest.mark.surprise(16)
def test_cancel_of_an_unknown_id_is_not_answered(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    stream.cancel(99)
    # requests are handled in order, so the answer to the next one would come second
    assert stream.create(prefix + b"b").watch_id == 1


def test_second_cancel_is_not_answered(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    stream.cancel(0)
    assert stream.receive().canceled
    stream.cancel(0)
    assert stream.create(prefix).created


def test_empty_request_is_ignored(wire, prefix):
    stream = wire.watch()
    stream.send(rpc_pb2.WatchRequest())
    assert stream.create(prefix).watch_id == 0


def test_replies_come_in_the_order_of_the_requests(wire, prefix):
    stream = wire.watch()
    for number in range(20):
        stream.request_create(prefix + b"%d" % number, watch_id=100 - number)
    assert [stream.receive().watch_id for _ in range(20)] == [100 - number for number in range(20)]


@pytest.mark.surprise(19)
def test_half_close_leaves_the_watchers(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    stream.half_close()
    wire.put(prefix, b"v")
    assert stream.receive().events[0].kv.value == b"v"


@pytest.mark.surprise(17)
def test_empty_key_without_end_is_the_key_nul(fresh):
    wire = fresh()
    stream = wire.watch()
    assert not stream.create(b"").canceled
    wire.put(b"a")
    wire.put(b"\0", b"v")
    assert [event.kv.key for event in stream.events(1)] == [b"\0"]


@pytest.mark.surprise(17)
def test_empty_key_with_open_end_is_everything(wire, prefix):
    stream = wire.watch()
    assert not stream.create(b"", b"\0").canceled
    wire.put(prefix)
    assert [event.kv.key for event in stream.events(1)] == [prefix]


def test_end_nul_is_every_key_from_there(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"b", b"\0")
    wire.put(prefix + b"a")
    wire.put(prefix + b"b")
    wire.put(prefix + b"c")
    assert [event.kv.key for event in stream.events(2)] == [prefix + b"b", prefix + b"c"]


def test_interval_leaves_out_its_end(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"a", prefix + b"c")
    for name in (b"c", b"a", b"bb", b"c", b"b"):
        wire.put(prefix + name)
    assert [event.kv.key for event in stream.events(3)] == [prefix + b"a", prefix + b"bb", prefix + b"b"]


def test_key_does_not_match_longer_keys(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"a")
    wire.put(prefix + b"aa")
    wire.put(prefix + b"a")
    assert [event.kv.key for event in stream.events(1)] == [prefix + b"a"]


def test_creation_reply_comes_before_history(wire, prefix):
    revision = wire.put(prefix, b"1").header.revision
    stream = wire.watch()
    stream.request_create(prefix, end_of(prefix), start_revision=revision)
    assert stream.receive().created
    assert stream.events(1)[0].kv.value == b"1"


def test_two_streams_see_the_same_event(wire, prefix):
    streams = [wire.watch(), wire.watch()]
    for stream in streams:
        stream.create(prefix)
    wire.put(prefix, b"v")
    assert [stream.receive().events[0].kv.value for stream in streams] == [b"v", b"v"]


def test_a_hundred_watchers_of_one_key(wire, prefix):
    stream = wire.watch()
    for _ in range(100):
        stream.create(prefix)
    wire.put(prefix)
    assert sorted(stream.receive().watch_id for _ in range(100)) == list(range(100))


def test_cancelled_call_ends(wire, prefix):
    stream = wire.watch()
    stream.create(prefix)
    stream.call.cancel()
    assert stream.status()[0].name == "CANCELLED"
    wire.put(prefix)


def test_hasleader_is_accepted(wire, prefix):
    stream = wire.watch(metadata=(("hasleader", "true"),))
    stream.create(prefix)
    wire.put(prefix)
    assert len(stream.receive().events) == 1
