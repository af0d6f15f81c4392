"""Watch messages: what is asked for and how replies are read."""

from __future__ import annotations

from coord.client.watch.actions import SendCancel, SendCreate
from coord.client.watch.requests import to_message
from coord.keys import EVERYTHING
from coord.model import Event, EventKind, Header, KeyValue
from coord.wire import mvcc_pb2, rpc_pb2
from coord.wire.watch import WatchReply, create_request, read_reply

NO_PUT = rpc_pb2.WatchCreateRequest.NOPUT
NO_DELETE = rpc_pb2.WatchCreateRequest.NODELETE


def test_a_create_request_asks_for_fragments_and_an_id_of_the_servers_choice() -> None:
    made = create_request(b"a", b"b", 7, previous=True, progress=True).create_request
    assert (made.key, made.range_end, made.start_revision) == (b"a", b"b", 7)
    assert made.fragment
    assert made.prev_kv
    assert made.progress_notify
    assert made.watch_id == 0
    assert list(made.filters) == []


def test_filters_name_what_is_not_wanted() -> None:
    assert list(create_request(b"a", b"", 0, puts=False).create_request.filters) == [NO_PUT]
    assert list(create_request(b"a", b"", 0, deletes=False).create_request.filters) == [NO_DELETE]


def test_requests_are_moved_below_the_namespace() -> None:
    one = to_message(SendCreate(b"k", b"", 0), b"ns/").create_request
    assert (one.key, one.range_end) == (b"ns/k", b"")
    everything = to_message(SendCreate(b"\0", EVERYTHING, 0), b"ns/").create_request
    assert (everything.key, everything.range_end) == (b"ns/\0", b"ns0")
    assert to_message(SendCancel(4), b"ns/").cancel_request.watch_id == 4


def test_a_reply_is_read_without_its_namespace() -> None:
    put = mvcc_pb2.Event(
        type=mvcc_pb2.Event.PUT,
        kv=mvcc_pb2.KeyValue(key=b"ns/k", value=b"2", create_revision=5, mod_revision=9, version=2, lease=3),
        prev_kv=mvcc_pb2.KeyValue(key=b"ns/k", value=b"1", create_revision=5, mod_revision=5, version=1),
    )
    gone = mvcc_pb2.Event(type=mvcc_pb2.Event.DELETE, kv=mvcc_pb2.KeyValue(key=b"ns/l", mod_revision=9))
    message = rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(cluster_id=1, member_id=2, revision=9, raft_term=4),
        watch_id=6,
        fragment=True,
        events=[put, gone],
    )
    assert read_reply(message, b"ns/") == WatchReply(
        Header(1, 2, 9, 4),
        6,
        fragment=True,
        events=[
            Event(EventKind.PUT, KeyValue(b"k", b"2", 5, 9, 2, 3), KeyValue(b"k", b"1", 5, 5, 1)),
            Event(EventKind.DELETE, KeyValue(b"l", mod_revision=9)),
        ],
    )


def test_a_refusal_is_read() -> None:
    message = rpc_pb2.WatchResponse(
        watch_id=-1, created=True, canceled=True, compact_revision=8, cancel_reason="because"
    )
    assert read_reply(message) == WatchReply(
        Header(), -1, created=True, canceled=True, compact_revision=8, reason="because", events=[]
    )
