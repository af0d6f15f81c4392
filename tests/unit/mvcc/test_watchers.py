"""What a watcher hears, and when: creation, delivery, catching up, compaction."""

from __future__ import annotations

import pytest

from coord.server.mvcc import catchup, events
from coord.server.mvcc.records import encode_event
from coord.server.mvcc.streams import NO_DELETE, NO_PUT
from coord.wire.mvcc_pb2 import KeyValue
from tests.unit.mvcc.watching import CLUSTER, Watched, create, responses, told


@pytest.fixture
def watched():
    return Watched()


# --- create


def test_the_created_response_carries_id_and_current_revision(watched):
    watched.put(b"k")
    stream = watched.open()
    assert stream.create(create(b"k")) == 0
    assert told(stream) == ["0@2 created"]


def test_every_header_names_the_cluster(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    watched.put(b"k")
    assert [response.header.cluster_id for response in responses(stream)] == [CLUSTER, CLUSTER]


def test_ids_are_given_from_zero_on_and_skip_those_in_use(watched):
    stream = watched.open()
    assert stream.create(create(b"k")) == 0
    assert stream.create(create(b"k", watch_id=1)) == 1
    assert stream.create(create(b"k")) == 2
    assert stream.create(create(b"k", watch_id=-7)) == -7
    stream.cancel(0)
    assert stream.create(create(b"k")) == 3
    assert told(stream)[3] == "-7@1 created"


def test_an_id_in_use_is_refused_and_the_watcher_stays(watched):
    stream = watched.open()
    stream.create(create(b"k", watch_id=5))
    assert stream.create(create(b"l", watch_id=5)) == -1
    watched.put(b"k")
    assert told(stream) == [
        "5@1 created",
        "-1@1 created canceled because 'mvcc: duplicate watch ID provided on the WatchStream'",
        "5@2 PUT k@2",
    ]


def test_an_id_may_be_used_again_after_its_cancel(watched):
    stream = watched.open()
    stream.create(create(b"k", watch_id=5))
    stream.cancel(5)
    assert stream.create(create(b"k", watch_id=5)) == 5


@pytest.mark.parametrize("end", [b"k", b"a"])
def test_an_empty_range_is_refused_and_the_stream_stays(watched, end):
    stream = watched.open()
    assert stream.create(create(b"k", end)) == -1
    assert told(stream) == ["-1@1 created canceled because 'mvcc: watcher range is empty'"]
    assert stream.create(create(b"k")) == 0


def test_a_negative_start_is_refused_as_compacted(watched):
    stream = watched.open()
    stream.create(create(b"k", start_revision=-1))
    assert told(stream) == ["-1@1 created canceled because 'etcdserver: mvcc: required revision has been compacted'"]


def test_an_empty_key_is_the_zero_byte_and_with_an_open_end_everything(watched):
    stream = watched.open()
    stream.create(create(b""))
    stream.create(create(b"", b"\0"))
    stream.create(create(b"l", b"\0"))
    watched.put(b"k")
    watched.put(b"\0")
    watched.put(b"m")
    assert told(stream)[3:] == ["1@2 PUT k@2", "0@3 PUT \0@3", "1@3 PUT \0@3", "1@4 PUT m@4", "2@4 PUT m@4"]


def test_a_refusal_decided_elsewhere_is_answered_like_the_others(watched):
    stream = watched.open()
    assert stream.refuse("rpc error: code = PermissionDenied desc = etcdserver: permission denied") == -1
    assert told(stream) == [
        "-1@1 created canceled because 'rpc error: code = PermissionDenied desc = etcdserver: permission denied'"
    ]


# --- delivery


def test_a_watcher_from_now_on_hears_what_comes(watched):
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k"))
    watched.put(b"k")
    watched.put(b"other")
    watched.delete(b"k")
    assert told(stream) == ["0@2 created", "0@3 PUT k@3", "0@5 DELETE k@5"]


def test_all_events_of_a_revision_come_in_one_response(watched):
    stream = watched.open()
    stream.create(create(b"a", b"z"))
    watched.put(b"a")
    watched.store.put(b"b", b"", 0)
    watched.store.delete(b"a")
    watched.store.put(b"zz", b"", 0)
    watched.store.commit()
    assert told(stream)[1:] == ["0@2 PUT a@2", "0@3 PUT b@3 DELETE a@3"]


def test_a_delete_event_has_only_key_and_revision(watched):
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k"))
    watched.delete(b"k")
    event = responses(stream)[1].events[0]
    assert event.kv == KeyValue(key=b"k", mod_revision=3)


def test_a_future_watcher_is_silent_until_its_revision(watched):
    stream = watched.open()
    stream.create(create(b"k", start_revision=4))
    for _ in range(4):
        watched.put(b"k")
    assert told(stream) == ["0@1 created", "0@4 PUT k@4", "0@5 PUT k@5"]


def test_filters_drop_events_and_responses_left_empty(watched):
    stream = watched.open()
    stream.create(create(b"k", filters=[NO_PUT]))
    stream.create(create(b"k", filters=[NO_DELETE]))
    stream.create(create(b"k", filters=[NO_PUT, NO_DELETE]))
    stream.create(create(b"k", filters=[9]))
    watched.put(b"k")
    watched.delete(b"k")
    assert told(stream)[4:] == ["1@2 PUT k@2", "3@2 PUT k@2", "0@3 DELETE k@3", "3@3 DELETE k@3"]


@pytest.mark.parametrize("live", [True, False])
def test_previous_values_are_those_before_the_revision(watched, live):
    stream = watched.open()
    if live:
        stream.create(create(b"a", b"z", prev_kv=True))
    watched.put(b"k")
    watched.put(b"k")
    watched.delete(b"k")
    watched.store.put(b"x", b"", 0)
    watched.store.delete(b"x")
    watched.store.commit()
    if not live:
        stream.create(create(b"a", b"z", prev_kv=True, start_revision=1))
        watched.settle()
    lines = " / ".join(told(stream)[1:])
    for expected in ("PUT k@2", "PUT k@3 was @2", "DELETE k@4 was @3", "PUT x@5 DELETE x@5"):
        assert expected in lines
    assert lines.count("was") == 2


def test_a_creation_has_no_previous_value_even_after_a_delete_in_its_revision(watched):
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", prev_kv=True))
    watched.store.delete(b"k")
    watched.store.put(b"k", b"new", 0)
    watched.store.commit()
    assert told(stream)[1:] == ["0@3 DELETE k@3 was @2 PUT k@3"]


def test_an_event_is_encoded_once_for_all_who_want_its_form(watched, monkeypatch):
    calls = []

    def counting(*args):
        calls.append(args)
        return encode_event(*args)

    monkeypatch.setattr(events, "encode_event", counting)
    streams = [watched.open() for _ in range(5)]
    for stream in streams:
        stream.create(create(b"k"))
        stream.create(create(b"k", prev_kv=True))
    watched.put(b"k")
    assert len(calls) == 2
    assert all(len(responses(stream)) == 4 for stream in streams)


def test_a_commit_nobody_watches_encodes_nothing(watched, monkeypatch):
    stream = watched.open()
    stream.create(create(b"elsewhere"))
    monkeypatch.setattr(events, "encode_event", lambda *args: pytest.fail("encoded for nobody"))
    watched.put(b"k")


# --- cancel and close


def test_cancel_is_answered_and_nothing_of_the_watcher_follows(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    watched.put(b"k")
    assert stream.cancel(0)
    watched.put(b"k")
    assert told(stream) == ["0@1 created", "0@2 PUT k@2", "0@2 canceled"]


def test_cancel_of_an_unknown_id_is_met_with_silence(watched):
    stream = watched.open()
    assert not stream.cancel(3)
    assert told(stream) == []


def test_a_closed_stream_leaves_nothing_behind(watched):
    watched.put(b"k")
    stream, other = watched.open(), watched.open()
    stream.create(create(b"k"))
    stream.create(create(b"a", b"z", start_revision=1))
    other.create(create(b"k"))
    stream.close()
    stream.close()
    watched.hub.check()
    assert watched.hub.statistics() == {"streams": 1, "watchers": 1, "slow_watchers": 0, "pending_responses": 1}
    watched.put(b"k")
    assert not watched.hub.catch_up()
    assert stream.pop() is None


# --- wake


def test_wake_comes_when_the_queue_turns_from_empty(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    watched.put(b"k")
    assert watched.wakes == 1
    responses(stream)
    watched.put(b"k")
    watched.put(b"k")
    assert watched.wakes == 2


# --- history


def test_history_comes_in_batches_of_a_thousand_revisions_under_the_current_one(watched):
    for _ in range(1501):
        watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", start_revision=2))
    watched.settle()
    created, *batches = responses(stream)
    assert created.created
    assert [len(batch.events) for batch in batches] == [1000, 501]
    assert [batch.header.revision for batch in batches] == [1502, 1502]
    assert [event.kv.mod_revision for batch in batches for event in batch.events] == list(range(2, 1503))


def test_history_of_a_range_in_a_busy_store_is_batched_by_its_own_revisions(watched):
    for number in range(1, 30):
        watched.put(b"fill%02d" % number)
    for number in range(3003):
        watched.put(b"mine/%03d" % (number % 40) if number % 3 == 0 else b"other%d" % number)
    stream = watched.open()
    stream.create(create(b"mine/", b"mine0", start_revision=2))
    watched.settle()
    batches = responses(stream)[1:]
    assert [len(batch.events) for batch in batches] == [1000, 1]


def test_a_batch_is_bounded_in_bytes_but_takes_whole_revisions(watched):
    for _ in range(5):
        watched.put(b"k", b"v" * (catchup.BYTES_PER_RESPONSE // 2))
    stream = watched.open()
    stream.create(create(b"k", start_revision=2))
    watched.settle()
    assert [len(batch.events) for batch in responses(stream)[1:]] == [2, 2, 1]


def test_events_come_after_the_created_response_and_then_live(watched):
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", start_revision=1))
    watched.put(b"k")
    watched.settle()
    watched.put(b"k")
    assert told(stream) == ["0@2 created", "0@3 PUT k@2 PUT k@3", "0@4 PUT k@4"]


def test_starting_at_the_current_revision_replays_it(watched):
    watched.put(b"k")
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", start_revision=3))
    watched.settle()
    assert told(stream) == ["0@3 created", "0@3 PUT k@3"]


def test_catching_up_is_asked_for_when_somebody_lags(watched):
    asked = []
    watched.hub.on_work = lambda: asked.append(1)
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k"))
    assert asked == []
    stream.create(create(b"k", start_revision=1))
    stream.create(create(b"k", start_revision=1))
    assert asked == [1]
    watched.settle()
    stream.create(create(b"k", start_revision=1))
    assert asked == [1, 1]


def looked_at(monkeypatch, watched):
    """The revisions that each slice of catching up asks the index or the store for."""
    counts: list[int] = []
    index, store = watched.store.index, watched.store
    of_key, of_revision = index.revisions, store.changes_of

    def revisions(*args):
        found = of_key(*args)
        counts[-1] += len(found)
        return found

    def changes_of(*args):
        counts[-1] += 1
        return of_revision(*args)

    monkeypatch.setattr(index, "revisions", revisions)
    monkeypatch.setattr(store, "changes_of", changes_of)
    return counts


@pytest.mark.parametrize("keys", [1, 10, 100, 900])
def test_a_slice_looks_at_little_however_long_the_past_of_many_keys_is(watched, monkeypatch, keys):
    """A watcher of 1000 keys with 300 revisions each once stopped the server for five seconds at a time."""
    rounds = 9_000 // keys
    for _ in range(rounds):
        for n in range(keys):
            watched.put(b"k%03d" % n)
    stream = watched.open()
    stream.create(create(b"k", b"l", start_revision=2))
    counts = looked_at(monkeypatch, watched)
    heard = []
    more = True
    while more:
        counts.append(0)
        more = watched.hub.catch_up()
        heard += [event.kv.mod_revision for response in responses(stream) for event in response.events]
    assert heard == list(range(2, 2 + rounds * keys))
    assert max(counts) <= 5_000
    assert len(counts) <= 30


def test_a_few_changes_in_a_busy_store_are_found_without_reading_its_log(watched, monkeypatch):
    for n in range(300):
        watched.put(b"k%03d" % n)
        for _ in range(100):
            watched.put(b"other")
    stream = watched.open()
    stream.create(create(b"k", b"l", start_revision=2))
    counts = looked_at(monkeypatch, watched)
    counts.append(0)
    watched.settle()
    assert sum(len(response.events) for response in responses(stream)) == 300
    assert sum(counts) < 1_000


def test_large_values_that_are_not_wanted_count_for_a_slice_as_well(watched, monkeypatch):
    for n in range(100):
        watched.put(b"k%03d" % n)
    for _ in range(50):
        watched.put(b"other", b"v" * (1 << 20))
    stream = watched.open()
    stream.create(create(b"k", b"l", start_revision=102))
    counts = looked_at(monkeypatch, watched)
    counts.append(0)
    while watched.hub.catch_up():
        counts.append(0)
    assert max(counts) <= 20


def test_a_small_batch_waits_for_more_while_others_have_their_turn(watched):
    for number in range(5000):
        watched.put(b"rare" if number % 1000 == 0 else b"%d" % number)
    streams = [watched.open() for _ in range(3)]
    for stream in streams:
        stream.create(create(b"", b"\0", start_revision=2, filters=[NO_DELETE]))
        stream.create(create(b"r", b"s" * 9, start_revision=2))
    turns = 0
    while watched.hub.catch_up(100):
        turns += 1
        watched.hub.check()
        held = sum(watcher.batch_bytes for stream in streams for watcher in stream.watchers.values())
        assert held < catchup.BYTES_PER_RESPONSE
    assert turns > 100
    for stream in streams:
        events = [event.kv.mod_revision for response in responses(stream) for event in response.events]
        assert len(events) == 5005


def test_catching_up_goes_in_slices_that_serve_all_in_turn(watched):
    for number in range(3000):
        watched.put(b"%d" % number)
    far, near = watched.open(), watched.open()
    far.create(create(b"", b"\0", start_revision=2))
    near.create(create(b"", b"\0", start_revision=2990))
    slices = 0
    while len(near) < 2:
        assert watched.hub.catch_up()
        slices += 1
    assert slices <= 3
    assert len(far) < 4


# --- compaction


def test_a_start_below_the_mark_is_created_and_then_canceled(watched):
    for _ in range(4):
        watched.put(b"k")
    watched.store.mark_compacted(4)
    stream = watched.open()
    assert stream.create(create(b"k", start_revision=3)) == 0
    watched.settle()
    created, canceled = responses(stream)
    assert (created.created, created.watch_id, created.header.revision) == (True, 0, 5)
    assert (canceled.canceled, canceled.compact_revision, canceled.header.revision) == (True, 4, 0)
    assert canceled.header.cluster_id == CLUSTER
    assert canceled.cancel_reason == ""
    watched.put(b"k")
    assert responses(stream) == []


def test_a_start_at_the_mark_is_served(watched):
    watched.put(b"k")
    watched.put(b"l")
    watched.delete(b"k")
    watched.store.mark_compacted(4)
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"", b"\0", start_revision=4))
    watched.settle()
    assert told(stream)[1:] == ["0@5 DELETE k@4 PUT k@5"]


def test_previous_values_that_are_compacted_are_left_out(watched):
    for _ in range(3):
        watched.put(b"k")
    watched.store.mark_compacted(4)
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", start_revision=4, prev_kv=True))
    watched.settle()
    assert told(stream)[1:] == ["0@5 PUT k@4 PUT k@5 was @4"]
