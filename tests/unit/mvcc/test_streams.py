"""One stream: its bounded queue, fragments, progress."""

from __future__ import annotations

import pytest

from coord.server.mvcc.streams import QUEUE_RESPONSES
from tests.unit.mvcc.watching import Watched, create, responses, told


@pytest.fixture
def watched():
    return Watched()


# --- slow readers


def test_a_full_stream_costs_nobody_else_and_catches_up(watched):
    slow, quick = watched.open(), watched.open()
    slow.create(create(b"k"))
    quick.create(create(b"k"))
    heard = []
    for _ in range(300):
        watched.put(b"k")
        heard += [event.kv.mod_revision for response in responses(quick) for event in response.events]
        watched.settle()
    assert heard == list(range(2, 302))
    assert len(slow) == QUEUE_RESPONSES
    assert watched.hub.statistics()["slow_watchers"] == 1
    late: list[int] = []
    while len(late) < 300:
        batch = [event.kv.mod_revision for response in responses(slow) for event in response.events]
        watched.settle()
        assert batch
        late += batch
    assert late == list(range(2, 302))
    watched.put(b"k")
    assert told(slow) == ["0@302 PUT k@302"]


def test_watchers_of_a_stuck_reader_hold_nothing(watched):
    for number in range(500):
        watched.put(b"k%d" % (number % 50), b"v" * 3000)
    stream = watched.open()
    for _ in range(QUEUE_RESPONSES + 50):
        stream.create(create(b"", b"\0", start_revision=2))
    watched.settle()
    assert stream.full
    assert len(stream.blocked) == QUEUE_RESPONSES + 50
    assert not any(watcher.batch for watcher in stream.watchers.values())
    heard: dict[int, list[int]] = {}
    while len(stream):
        for response in responses(stream):
            heard.setdefault(response.watch_id, []).extend(event.kv.mod_revision for event in response.events)
        watched.settle()
    assert all(revisions == list(range(2, 502)) for revisions in heard.values())
    assert len(heard) == QUEUE_RESPONSES + 50


def test_streams_that_wait_with_the_same_event_share_it(watched):
    streams = [watched.open() for _ in range(50)]
    for stream in streams:
        stream.create(create(b"k"))
    watched.put(b"k", b"v" * 100_000)
    assert len({id(events[0]) for stream in streams for _, events in stream._queue if events}) == 1


def test_a_slow_reader_overtaken_by_compaction_is_told_so(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    for _ in range(200):
        watched.put(b"k")
    watched.store.mark_compacted(190)
    watched.settle()
    lines = told(stream)
    watched.settle()
    lines += told(stream)
    assert lines[-1] == "0@0 canceled compacted=190"
    assert len(lines) == QUEUE_RESPONSES + 1


def test_a_queue_is_bounded_in_bytes_too(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    for _ in range(40):
        watched.put(b"k", b"v" * (1 << 20))
    assert len(stream) < 12
    assert stream.full


def test_answers_to_requests_are_queued_even_when_the_stream_is_full(watched):
    stream = watched.open()
    stream.create(create(b"k"))
    for _ in range(QUEUE_RESPONSES + 5):
        watched.put(b"k")
    assert stream.full
    stream.create(create(b"l"))
    stream.cancel(1)
    assert told(stream)[QUEUE_RESPONSES:] == ["1@134 created", "1@134 canceled"]


# --- fragments


def test_a_large_response_is_split_if_asked(watched):
    watched = Watched(max_response_bytes=2000)
    stream = watched.open()
    stream.create(create(b"a", b"z", fragment=True))
    stream.create(create(b"a", b"z"))
    for key in (b"a", b"b", b"c", b"d", b"e"):
        watched.store.put(key, b"v" * 800, 0)
    watched.store.commit()
    lines = told(stream)[2:]
    assert lines == [
        "0@2 fragment PUT a@2 PUT b@2",
        "0@2 fragment PUT c@2 PUT d@2",
        "0@2 PUT e@2",
        "1@2 PUT a@2 PUT b@2 PUT c@2 PUT d@2 PUT e@2",
    ]


def test_every_fragment_is_below_the_limit_unless_one_event_is_not():
    watched = Watched(max_response_bytes=1000)
    stream = watched.open()
    stream.create(create(b"a", b"z", fragment=True))
    for number in range(30):
        watched.store.put(b"k%02d" % number, b"v" * (5000 if number == 7 else number * 20), 0)
    watched.store.commit()
    stream.pop()
    sizes = []
    while (encoded := stream.pop()) is not None:
        sizes.append(len(encoded))
    assert sum(size >= 1000 for size in sizes) == 1
    assert max(sizes) > 5000


# --- progress


def test_manual_progress_needs_a_watcher_and_all_of_them_synced(watched):
    watched.put(b"k")
    stream = watched.open()
    assert not stream.progress()
    stream.create(create(b"k"))
    assert stream.progress()
    assert told(stream) == ["0@2 created", "-1@2"]
    stream.create(create(b"k", start_revision=1))
    assert not stream.progress()
    watched.settle()
    assert stream.progress()
    assert told(stream) == ["1@2 created", "1@2 PUT k@2", "-1@2"]


def test_manual_progress_is_silent_beside_a_future_watcher(watched):
    stream = watched.open()
    stream.create(create(b"k", start_revision=3))
    assert not stream.progress()
    watched.put(b"k")
    watched.put(b"k")
    assert stream.progress()


def test_ticks_tell_those_who_asked_and_heard_nothing(watched):
    stream = watched.open()
    stream.create(create(b"k", progress_notify=True))
    stream.create(create(b"k"))
    responses(stream)
    stream.tick_progress()
    assert told(stream) == ["0@1"]
    watched.put(b"k")
    responses(stream)
    stream.tick_progress()
    assert told(stream) == []
    watched.put(b"elsewhere")
    stream.tick_progress()
    assert told(stream) == ["0@3"]


def test_a_lagging_watcher_is_told_of_no_progress(watched):
    watched.put(b"k")
    stream = watched.open()
    stream.create(create(b"k", progress_notify=True, start_revision=1))
    responses(stream)
    stream.tick_progress()
    assert told(stream) == []
