"""A roster of many instances: an event costs the same however many there are, and a look never changes."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coord.model import Event, EventKind, KeyValue
from coord.recipes.registry.instance import new_instance, parse_instance
from coord.recipes.registry.roster import NOBODY, Change, ChangeKind, Look, Roster, Seen, differences

NAMES = "abcd"


def item(name: str, says: int, revision: int) -> KeyValue:
    made = new_instance("s", f"{name}:{says}", id=name)
    return KeyValue(made.key, made.encode(), create_revision=revision, mod_revision=revision)


def event(name: str, says: int | None, revision: int) -> Event:
    if says is None:
        return Event(EventKind.DELETE, KeyValue(item(name, 0, 0).key, mod_revision=revision))
    return Event(EventKind.PUT, item(name, says, revision))


def whole(before: Seen, after: Seen) -> list[Change]:
    """The difference, found by comparing everything."""
    return differences(Seen(before.known, before.revision), Seen(after.known, after.revision))


def adds_up(told: dict[bytes, str], changes: list[Change]) -> None:
    for change in changes:
        if change.kind is ChangeKind.LEFT:
            del told[change.instance.key]
        else:
            assert (change.kind is ChangeKind.JOINED) == (change.instance.key not in told)
            told[change.instance.key] = change.instance.address


revisions = st.lists(
    st.tuples(
        st.sampled_from(("apply", "apply", "apply", "replace")),
        st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 2)),
        st.booleans(),
    ),
    max_size=20,
)


@given(revisions)
def test_looks_are_what_was_there_whatever_comes_later(steps: list[tuple[str, dict[str, int | None], bool]]) -> None:
    roster = Roster()
    model: dict[bytes, str] = {}
    told: dict[bytes, str] = {}
    looks: list[tuple[Seen, dict[bytes, str]]] = [(NOBODY, {})]
    for number, (verb, news, looks_now) in enumerate(steps):
        revision = number + 1
        if verb == "apply":
            adds_up(told, roster.apply([event(name, says, revision) for name, says in news.items()], revision))
            for name, says in news.items():
                key = item(name, 0, 0).key
                model.pop(key, None)
                if says is not None:
                    model[key] = f"{name}:{says}"
        else:
            items = [item(name, says, revision) for name, says in news.items() if says is not None]
            adds_up(told, roster.replace(items, revision))
            model = {item(name, 0, 0).key: f"{name}:{says}" for name, says in news.items() if says is not None}
        assert told == model
        if looks_now:
            looks.append((roster.seen, dict(model)))
    quick = [[differences(before, after) for after, _ in looks[at:]] for at, (before, _) in enumerate(looks)]
    for look, was in looks:
        assert {key: instance.address for key, instance in look.known.items()} == was
    slow = [[whole(before, after) for after, _ in looks[at:]] for at, (before, _) in enumerate(looks)]
    assert quick == slow


def test_events_and_differences_touch_only_what_changed() -> None:
    roster = Roster()
    roster.replace([item(f"i{number}", 0, 1) for number in range(1000)], 1)
    with patch.object(Look, "known", property(lambda self: 1 / 0)):
        for revision in range(2, 100):
            before = roster.seen
            assert len(roster.apply([event("i7", revision, revision)], revision)) == 1
            assert [change.instance.address for change in differences(before, roster.seen)] == [f"i7:{revision}"]


def test_a_look_keeps_at_most_one_note_for_each_key() -> None:
    roster = Roster()
    roster.replace([item("a", 0, 1)], 1)
    look = roster.seen
    assert isinstance(look, Look)
    for revision in range(2, 200):
        roster.apply([event("a", revision, revision), event(f"n{revision}", 0, revision)], revision)
        roster.apply([event(f"n{revision}", None, revision)], revision)
    assert list(look._overwritten) == [item("a", 0, 1).key], "who came and went leaves nothing"


def test_a_look_that_nobody_has_is_forgotten() -> None:
    roster = Roster()
    for revision in range(1, 20):
        roster.apply([event("a", revision, revision)], revision)
        _ = roster.seen
    gc.collect()
    assert len(roster._looks) == 1


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_threads_take_turns_often")
def test_who_looks_from_another_thread_sees_whole_revisions() -> None:
    roster = Roster()
    roster.replace([item(name, 0, 1) for name in NAMES], 1)
    over = threading.Event()
    mixed: list[Seen] = []

    def look() -> None:
        before = roster.seen
        told: dict[bytes, str] = {key: instance.address for key, instance in before.known.items()}
        while not over.is_set():
            seen = roster.seen
            adds_up(told, differences(before, seen))
            before = seen
            known = {key: instance.address for key, instance in seen.known.items()}
            if known != told or len({address.partition(":")[2] for address in told.values()}) > 1:
                mixed.append(seen)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for revision in range(2, 3000):
        roster.apply([event(name, revision, revision) for name in NAMES], revision)
    over.set()
    for thread in threads:
        thread.join()
    assert mixed == []


def test_what_is_stored_once_is_held_once() -> None:
    one = parse_instance(item("a", 1, 1))
    assert one is parse_instance(item("a", 1, 1))
    assert one is not parse_instance(item("a", 1, 2))


def test_who_looks_in_the_middle_of_a_revision_waits_for_its_end() -> None:
    roster = Roster()
    roster.replace([item("a", 0, 1)], 1)
    look = roster.seen
    found: list[list[str]] = []
    other = threading.Thread(target=lambda: found.append([each.address for each in look.known.values()]))
    plain = Look.outdate

    def outdate(self: Look, *arguments: Any) -> None:
        other.start()
        other.join(0.1)  # it would be done by now if it did not wait
        plain(self, *arguments)

    with patch.object(Look, "outdate", outdate):
        roster.apply([event("a", 1, 2)], 2)
    other.join()
    assert found == [["a:0"]]
