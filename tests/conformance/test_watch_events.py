"""Watch: what an event says, order and atomicity, filters, previous values, fragments."""

import pytest

from tests.conformance.wire import WatchStream, end_of, op_delete, op_put

PUT, DELETE = 0, 1
NOPUT, NODELETE = 0, 1


@pytest.fixture
def stream(wire, prefix) -> WatchStream:
    """A stream with one watcher of the whole prefix."""
    made = wire.watch()
    made.create(prefix, end_of(prefix))
    return made


def test_put_event_is_the_whole_record(wire, prefix, stream, lease):
    wire.put(prefix, b"v", lease=lease())
    [event] = stream.receive().events
    assert (event.type, event.kv) == (PUT, wire.get(prefix))


def test_creation_and_change_can_be_told_apart(wire, prefix, stream):
    wire.put(prefix)
    wire.put(prefix)
    first, second = (event.kv for event in stream.events(2))
    assert (first.create_revision == first.mod_revision, first.version) == (True, 1)
    assert (second.create_revision == second.mod_revision, second.version) == (False, 2)


def test_delete_event_has_only_key_and_revision(wire, prefix, stream, lease):
    wire.put(prefix, b"v", lease=lease())
    revision = wire.delete(prefix).header.revision
    event = stream.events(2)[1]
    assert (event.type, event.kv.key, event.kv.mod_revision) == (DELETE, prefix, revision)
    assert (event.kv.create_revision, event.kv.version, event.kv.value, event.kv.lease) == (0, 0, b"", 0)


def test_same_value_put_again_is_an_event(wire, prefix, stream):
    wire.put(prefix, b"v")
    wire.put(prefix, b"v")
    assert [event.kv.version for event in stream.events(2)] == [1, 2]


def test_delete_of_nothing_is_no_event(wire, prefix, stream):
    wire.delete(prefix)
    wire.put(prefix, b"next")
    assert stream.events(1)[0].kv.value == b"next"


def test_put_without_change_of_value_is_an_event(wire, prefix, stream):
    wire.put(prefix, b"v")
    wire.put(prefix, ignore_value=True)
    assert [event.kv.value for event in stream.events(2)] == [b"v", b"v"]


def test_header_has_the_revision_of_the_event(wire, prefix, stream):
    first = wire.put(prefix).header.revision
    second = wire.put(prefix).header.revision
    assert [stream.receive().header.revision for _ in range(2)] == [first, second]


def test_responses_are_neither_created_nor_cancelled(wire, prefix, stream):
    wire.put(prefix)
    response = stream.receive()
    assert (response.created, response.canceled, response.fragment, response.watch_id) == (False, False, False, 0)


def test_one_revision_is_one_response(wire, prefix, stream):
    revision = wire.txn(success=[op_put(prefix + name) for name in (b"c", b"a", b"b")]).header.revision
    response = stream.receive()
    assert [event.kv.key[-1:] for event in response.events] == [b"c", b"a", b"b"]
    assert {event.kv.mod_revision for event in response.events} == {revision}


def test_events_of_a_range_delete_are_in_key_order(wire, prefix, stream):
    for name in (b"b", b"c", b"a"):
        wire.put(prefix + name)
    wire.delete(prefix, end_of(prefix))
    stream.events(3)
    assert [event.kv.key[-1:] for event in stream.receive().events] == [b"a", b"b", b"c"]


def test_txn_of_puts_and_deletes_keeps_its_order(wire, prefix, stream):
    wire.put(prefix + b"b")
    stream.events(1)
    wire.txn(success=[op_put(prefix + b"c"), op_delete(prefix + b"b"), op_put(prefix + b"a")])
    shown = [(event.type, event.kv.key[-1:]) for event in stream.receive().events]
    assert shown == [(PUT, b"c"), (DELETE, b"b"), (PUT, b"a")]


def test_only_matching_events_of_a_revision(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"a")
    wire.txn(success=[op_put(prefix + b"b"), op_put(prefix + b"a")])
    assert [event.kv.key for event in stream.receive().events] == [prefix + b"a"]


def test_two_hundred_changes_in_order_without_gap(wire, prefix, stream):
    written = [wire.put(prefix + b"%d" % (number % 7)).header.revision for number in range(200)]
    assert [event.kv.mod_revision for event in stream.events(200)] == written


def test_each_watcher_of_a_stream_gets_its_events(wire, prefix):
    stream = wire.watch()
    stream.create(prefix + b"a")
    stream.create(prefix + b"b")
    wire.put(prefix + b"b")
    wire.put(prefix + b"a")
    assert [stream.receive().watch_id for _ in range(2)] == [1, 0]


def test_revoked_lease_deletes_in_one_sorted_revision(wire, prefix, stream):
    lease = wire.grant(600).ID
    for name in (b"c", b"a", b"b"):
        wire.put(prefix + name, lease=lease)
    stream.events(3)
    revision = wire.revoke(lease).header.revision
    response = stream.receive()
    assert [(event.type, event.kv.key[-1:]) for event in response.events] == [(DELETE, n) for n in (b"a", b"b", b"c")]
    assert {event.kv.mod_revision for event in response.events} == {revision}


def filtered(wire, prefix, *filters):
    stream = wire.watch()
    stream.create(prefix, end_of(prefix), filters=filters)
    wire.put(prefix)
    wire.delete(prefix)
    wire.put(prefix)
    return stream


def test_filter_of_puts(wire, prefix):
    stream = filtered(wire, prefix, NOPUT)
    wire.delete(prefix)
    assert [event.type for event in stream.events(2)] == [DELETE, DELETE]


def test_filter_of_deletes(wire, prefix):
    stream = filtered(wire, prefix, NODELETE)
    assert [event.type for event in stream.events(2)] == [PUT, PUT]


def test_both_filters_let_nothing_through(wire, prefix):
    stream = filtered(wire, prefix, NOPUT, NODELETE)
    stream.create(prefix, watch_id=9)
    wire.put(prefix)
    assert stream.receive().watch_id == 9


def test_unknown_filter_is_ignored(wire, prefix):
    stream = filtered(wire, prefix, 7)
    assert [event.type for event in stream.events(3)] == [PUT, DELETE, PUT]


def test_filter_takes_single_events_out_of_a_revision(wire, prefix):
    wire.put(prefix + b"a")
    stream = wire.watch()
    stream.create(prefix, end_of(prefix), filters=[NODELETE])
    wire.txn(success=[op_delete(prefix + b"a"), op_put(prefix + b"b")])
    assert [event.kv.key for event in stream.receive().events] == [prefix + b"b"]


def test_filter_works_on_history(wire, prefix):
    revision = wire.put(prefix).header.revision
    wire.delete(prefix)
    wire.put(prefix)
    stream = wire.watch()
    stream.create(prefix, start_revision=revision, filters=[NOPUT])
    assert [event.type for event in stream.events(1)] == [DELETE]


def test_previous_values(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, prev_kv=True)
    wire.put(prefix, b"1")
    wire.put(prefix, b"2")
    before = wire.get(prefix)
    wire.delete(prefix)
    created, changed, deleted = stream.events(3)
    assert not created.HasField("prev_kv")
    assert (changed.prev_kv.value, changed.prev_kv.version) == (b"1", 1)
    assert deleted.prev_kv == before


def test_previous_values_are_absent_unless_asked(wire, prefix, stream):
    wire.put(prefix, b"1")
    wire.put(prefix, b"2")
    assert not any(event.HasField("prev_kv") for event in stream.events(2))


def test_previous_value_of_a_recreated_key_is_absent(wire, prefix):
    wire.put(prefix)
    wire.delete(prefix)
    stream = wire.watch()
    stream.create(prefix, prev_kv=True)
    wire.put(prefix)
    assert not stream.events(1)[0].HasField("prev_kv")


def test_previous_values_in_history(wire, prefix):
    wire.put(prefix, b"1")
    revision = wire.put(prefix, b"2").header.revision
    stream = wire.watch()
    stream.create(prefix, start_revision=revision, prev_kv=True)
    assert stream.events(1)[0].prev_kv.value == b"1"


@pytest.mark.surprise(21)
def test_previous_value_is_absent_if_it_was_compacted(compacting, prefix):
    compacting.put(prefix, b"1")
    revision = compacting.put(prefix, b"2").header.revision
    compacting.compact(revision, physical=True)
    stream = compacting.watch()
    stream.create(prefix, start_revision=revision, prev_kv=True)
    [event] = stream.events(1)
    assert (event.kv.value, event.HasField("prev_kv")) == (b"2", False)


@pytest.fixture
def large(wire, prefix):
    """Five keys of 900 kB each below the prefix, put one by one; removed after the test."""
    for number in range(5):
        wire.put(prefix + b"%d" % number, b"x" * 900_000)
    yield prefix
    wire.delete(prefix, end_of(prefix))


def test_large_response_is_split_when_asked(wire, large):
    stream = wire.watch()
    stream.create(large, end_of(large), fragment=True, prev_kv=True)
    revision = wire.delete(large, end_of(large)).header.revision
    parts = [stream.receive() for _ in range(3)]
    assert [len(part.events) for part in parts] == [2, 2, 1]
    assert [part.fragment for part in parts] == [True, True, False]
    assert {(part.watch_id, part.header.revision) for part in parts} == {(0, revision)}
    assert [event.kv.key for part in parts for event in part.events] == [large + b"%d" % n for n in range(5)]


def test_large_response_comes_whole_unless_asked(wire, large):
    stream = wire.watch()
    stream.create(large, end_of(large), prev_kv=True)
    wire.delete(large, end_of(large))
    response = stream.receive()
    assert (len(response.events), response.fragment) == (5, False)


def test_small_response_is_not_split(wire, prefix):
    stream = wire.watch()
    stream.create(prefix, end_of(prefix), fragment=True)
    wire.txn(success=[op_put(prefix + b"%d" % number) for number in range(50)])
    response = stream.receive()
    assert (len(response.events), response.fragment) == (50, False)


def test_history_is_split_too(wire, large):
    start = wire.get(large + b"0").mod_revision
    stream = wire.watch()
    stream.create(large, end_of(large), fragment=True, start_revision=start)
    got: list[bytes] = []
    flags: list[bool] = []
    while len(got) < 5:
        response = stream.receive()
        assert response.ByteSize() < 2 * 1024 * 1024
        flags.append(response.fragment)
        got += [event.kv.key for event in response.events]
    assert got == [large + b"%d" % number for number in range(5)]
    assert flags[-1] is False
