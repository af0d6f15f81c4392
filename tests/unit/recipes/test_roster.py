"""Instances as stored, and the state that events make of them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from coord.errors import CallTimeout, ClosedError, HistoryLost, PermissionDenied, Unavailable, UsageError
from coord.model import Event, EventKind, KeyValue
from coord.ops import Delete, Put, Txn
from coord.program import run_blocking
from coord.recipes.registry.brake import Brake
from coord.recipes.registry.instance import Instance, new_instance, parse_instance, service_prefix
from coord.recipes.registry.roster import NOBODY, Change, ChangeKind, Follower, Roster, Seen, differences
from tests.unit.recipes.direct import DirectPort, Place

JOINED, UPDATED, LEFT = ChangeKind.JOINED, ChangeKind.UPDATED, ChangeKind.LEFT


def stored(instance: Instance, revision: int, value: bytes | None = None) -> KeyValue:
    data = instance.encode() if value is None else value
    return KeyValue(instance.key, data, create_revision=revision, mod_revision=revision)


def put(instance: Instance, revision: int, value: bytes | None = None) -> Event:
    return Event(EventKind.PUT, stored(instance, revision, value))


def gone(instance: Instance, revision: int) -> Event:
    return Event(EventKind.DELETE, KeyValue(instance.key, mod_revision=revision))


def told(changes: list[Change]) -> list[tuple[ChangeKind, str]]:
    return [(change.kind, change.instance.id) for change in changes]


A = new_instance("s", "a:1", id="a")
B = new_instance("s", "b:1", id="b")


# --- what is stored


@pytest.mark.parametrize(
    "made",
    [
        new_instance("orders", "10.0.0.7:80"),
        new_instance("orders/eu", "unix:///run/x", metadata={"ä": "ß\n"}, weight=0, zone="a b", id="~.-_9"),
        new_instance("%", "x"),
        new_instance("Bestellungen für Ä", "[::1]:80", weight=10**18),
        new_instance(".", "x", id="."),
        new_instance(" / ", "x"),
    ],
)
def test_what_is_stored_is_read_again(made: Instance) -> None:
    found = parse_instance(KeyValue(made.key, made.encode(), create_revision=7))
    assert found is not None
    assert found == Instance(made.service, made.id, made.address, made.metadata, made.weight, made.zone, 7)
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(made)


def test_the_stored_form_is_a_wire_format() -> None:
    made = new_instance("orders/eu", "10.0.0.7:80", metadata={"v": "3"}, weight=2, zone="a", id="7")
    assert made.key == b"coord/services/orders%2Feu/7"
    assert made.encode() == b'{"address":"10.0.0.7:80","metadata":{"v":"3"},"weight":2,"zone":"a"}'


def test_no_service_begins_with_another() -> None:
    names = ["a", "a/", "a/b", "a%2Fb", "ab", "a b", "a.b"]
    prefixes = [service_prefix(name) for name in names]
    for mine in prefixes:
        assert [other for other in prefixes if other.startswith(mine)] == [mine]
    assert all(prefix.startswith(service_prefix("")) for prefix in prefixes)


def test_ids_differ() -> None:
    assert len({new_instance("s", "x").id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: new_instance("", "x"), "name of a service is empty"),
        (lambda: new_instance("s", ""), "address is empty"),
        (lambda: new_instance("s", 8080), "address is text, not 8080"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance(b"s", "x"), "text, not b's'"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance("s", "x", weight=-1), "whole number"),
        (lambda: new_instance("s", "x", weight=1.5), "whole number"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance("s", "x", weight=True), "whole number"),
        (lambda: new_instance("s", "x", zone=None), "zone is text"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance("s", "x", metadata={"port": 80}), "metadata are text"),  # type: ignore[dict-item]  # the mistake
        (lambda: new_instance("s", "x", metadata=["a"]), "mapping"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance("s", "x", id="a/b"), "an id is"),
        (lambda: new_instance("s", "x", id=""), "an id is"),
        (lambda: new_instance("s", "x", id="x" * 129), "an id is"),
        (lambda: new_instance("s", "x", id=7), "an id is"),  # type: ignore[arg-type]  # the mistake
        (lambda: new_instance("s", "\udc80"), "UTF-8"),
        (lambda: new_instance("\udc80", "x"), "UTF-8"),
        (lambda: service_prefix(5), "text, not 5"),  # type: ignore[arg-type]  # the mistake
    ],
)
def test_what_cannot_be_stored_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


def test_metadata_are_copied() -> None:
    mine = {"version": "1"}
    made = new_instance("s", "x", metadata=mine)
    mine["version"] = "2"
    assert made.metadata == {"version": "1"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"elsewhere/s/a", A.encode()),
        (b"coord/services/s", A.encode()),
        (b"coord/services/s/", A.encode()),
        (b"coord/services//a", A.encode()),
        (b"coord/services/s/a/b", A.encode()),
        (b"coord/services/s/a b", A.encode()),
        (b"coord/services/s/\xff", A.encode()),
        (b"coord/services/\xff/a", A.encode()),
        (b"coord/services/%FF/a", A.encode()),
        (b"coord/services/%73/a", A.encode()),  # another way to write "s"
        (A.key, b""),
        (A.key, b"hello"),
        (A.key, b"7"),
        (A.key, b"[]"),
        (A.key, b"{}"),
        (A.key, b'{"address":""}'),
        (A.key, b'{"address":5}'),
        (A.key, b'{"address":"x","weight":"many"}'),
        (A.key, b'{"address":"x","weight":-1}'),
        (A.key, b'{"address":"x","weight":1e400}'),
        (A.key, b'{"address":"x","weight":NaN}'),
        (A.key, b'{"address":"x","weight":' + b"9" * 5000 + b"}"),
        (A.key, b'{"address":"x","metadata":[1]}'),
        (A.key, b'{"address":"x","metadata":{"a":1}}'),
        (A.key, b'{"address":"x","zone":null}'),
        (A.key, b'{"address":"\\ud800"}'),
        (A.key, b'{"address":' + b"[" * 100_000),
        (A.key, b"\xff\xfe"),
    ],
)
def test_what_strangers_wrote_is_no_instance(key: bytes, value: bytes) -> None:
    assert parse_instance(KeyValue(key, value)) is None


def test_other_versions_may_say_less_or_more() -> None:
    found = parse_instance(KeyValue(A.key, b'{"address":"x","since":"2031"}'))
    assert found == Instance("s", "a", "x")


# --- what events make of it


def test_events_add_up() -> None:
    roster = Roster()
    assert told(roster.replace([stored(A, 2)], 5)) == [(JOINED, "a")]
    assert told(roster.apply([put(B, 6)], 6)) == [(JOINED, "b")]
    moved = Instance("s", "a", "a:2")
    assert told(roster.apply([put(moved, 7)], 7)) == [(UPDATED, "a")]
    assert roster.seen.instances == (Instance("s", "b", "b:1", revision=6), Instance("s", "a", "a:2", revision=7))
    assert told(roster.apply([gone(B, 8)], 8)) == [(LEFT, "b")]
    assert told(roster.apply([gone(B, 9)], 9)) == []
    assert roster.seen.revision == 9


def test_one_revision_is_one_state() -> None:
    roster = Roster()
    roster.replace([stored(A, 2)], 2)
    before = roster.seen
    assert told(roster.apply([gone(A, 3), put(B, 3)], 3)) == [(LEFT, "a"), (JOINED, "b")]
    assert list(before.known) == [A.key], "who looked before sees what was then"
    assert [each.id for each in roster.seen.instances] == ["b"]


def test_coming_back_under_a_new_lease_is_no_change() -> None:
    roster = Roster()
    roster.replace([stored(A, 2)], 2)
    assert roster.apply([put(A, 9)], 9) == []
    assert roster.seen.instances[0].revision == 9


def test_reading_anew_tells_the_difference() -> None:
    roster = Roster()
    roster.replace([stored(A, 2), stored(B, 3)], 3)
    c = new_instance("s", "c:1", id="c")
    moved = Instance("s", "b", "b:2")
    assert told(roster.replace([stored(moved, 3), stored(c, 8)], 9)) == [(LEFT, "a"), (UPDATED, "b"), (JOINED, "c")]


def test_a_key_overwritten_with_something_else_has_left() -> None:
    roster = Roster()
    roster.replace([stored(A, 2)], 2)
    assert told(roster.apply([put(A, 3, b"broken")], 3)) == [(LEFT, "a")]


def test_a_stranger_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="coord.registry")
    roster = Roster()
    stranger = KeyValue(b"coord/services/s/!", b"?")
    roster.replace([stranger, stored(A, 2)], 2)
    roster.apply([Event(EventKind.PUT, stranger)], 3)
    roster.replace([stranger], 4)
    assert [record.getMessage() for record in caplog.records] == [
        "key b'coord/services/s/!' lies among the registered instances but is none; coord ignores it"
    ]


def test_differences_of_states() -> None:
    assert differences(NOBODY, NOBODY) == []
    state = Seen({A.key: A}, 4)
    assert differences(NOBODY, state) == [Change(JOINED, A, 4)]
    assert differences(state, Seen({}, 6)) == [Change(LEFT, A, 6)]


# --- following


def register(place: Place, *instances: Instance) -> None:
    for each in instances:
        place.server.txn(Txn(then=(Put(each.key, each.encode()),)))


def leave(place: Place, instance: Instance) -> None:
    place.server.txn(Txn(then=(Delete(instance.key),)))


def following(place: Place) -> tuple[DirectPort, Follower]:
    client = place.client()
    return client, Follower(client, "s")


def step(follower: Follower, deadline: float | None = None) -> list[tuple[ChangeKind, str]]:
    return told(run_blocking(follower.next(deadline)))


def test_first_everybody_then_changes() -> None:
    place = Place()
    register(place, A, new_instance("s2", "x", id="other"))
    _, follower = following(place)
    assert step(follower) == [(JOINED, "a")]
    register(place, B)
    leave(place, A)
    assert step(follower) == [(JOINED, "b")]
    assert step(follower) == [(LEFT, "a")]


def test_nobody_is_told_once() -> None:
    place = Place()
    client, follower = following(place)
    assert step(follower) == []
    client.while_waiting.append(lambda: register(place, A))
    assert step(follower) == [(JOINED, "a")]


def test_a_service_is_not_another_that_begins_like_it() -> None:
    place = Place()
    register(place, new_instance("s/x", "x", id="1"), new_instance("sx", "x", id="2"), A)
    assert step(following(place)[1]) == [(JOINED, "a")]
    assert len(step(Follower(place.client(), ""))) == 3


def test_what_happens_between_reading_and_watching_is_seen() -> None:
    place = Place()
    _, follower = following(place)
    plain = place.server.range

    def range_(request: Any) -> Any:
        found = plain(request)
        register(place, A)
        return found

    place.server.range = range_  # type: ignore[method-assign]  # somebody registers at this very moment
    assert step(follower) == []
    assert step(follower) == [(JOINED, "a")]


def test_after_a_compaction_the_difference_is_told() -> None:
    place = Place()
    register(place, A)
    _, follower = following(place)
    step(follower)
    register(place, B)
    leave(place, A)
    place.server.compact()
    assert step(follower) == [(LEFT, "a"), (JOINED, "b")]
    register(place, A)
    assert step(follower) == [(JOINED, "a")]


def test_a_restored_cluster_is_read_anew(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    register(place, A)
    client, follower = following(place)
    step(follower)
    leave(place, A)
    assert step(follower) == [(LEFT, "a")]
    (watcher,) = client.hub.watchers.values()
    watcher.inbox.fail(HistoryLost("another cluster answers"))
    client.hub.watchers.clear()
    register(place, B)
    assert not follower.roster.seen.known
    assert step(follower) == [(JOINED, "b")]
    assert "anew" in caplog.text


def test_an_unreachable_server_is_asked_until_it_answers() -> None:
    place = Place()
    register(place, A)
    client, follower = following(place)
    client.troubles += [Unavailable("down"), CallTimeout("slow"), Unavailable("down")]
    before = client.now()
    assert step(follower) == [(JOINED, "a")]
    assert client.now() > before


def test_the_deadline_bounds_it() -> None:
    place = Place()
    client, follower = following(place)
    client.troubles += [Unavailable("down")] * 9
    with pytest.raises(CallTimeout) as caught:
        step(follower, client.now() + 2.0)
    assert isinstance(caught.value.__cause__, Unavailable)
    client.troubles.clear()
    step(follower, client.now() + 2.0)
    with pytest.raises(CallTimeout):
        step(follower, client.now() + 2.0)


def test_a_refusal_is_told() -> None:
    client, follower = following(Place())
    client.troubles.append(PermissionDenied("no", code=7, text="no"))
    with pytest.raises(PermissionDenied):
        step(follower)


def test_closing_is_told_and_leaves_no_watch() -> None:
    place = Place()
    client, follower = following(place)
    step(follower)
    register(place, A)
    step(follower)
    assert len(client.hub.watchers) == 1
    follower.close()
    follower.close()
    assert not client.hub.watchers
    client.troubles.append(ClosedError("closed"))
    with pytest.raises(ClosedError):
        step(follower)
    assert not client.hub.watchers


# --- tags


def test_only_those_that_say_all_of_the_tags_are_seen() -> None:
    roster = Roster(tags={"v": "3", "x": "y"})
    both, one = ({"v": "3", "x": "y", "more": ""}, {"v": "3"})
    first, second = (new_instance("s", "a", id=name, metadata=both) for name in "ab")
    other = new_instance("s", "a", id="b", metadata=one)
    assert told(roster.replace([stored(first, 2), stored(other, 3)], 3)) == [(JOINED, "a")]
    assert told(roster.apply([put(second, 4)], 4)) == [(JOINED, "b")]
    assert told(roster.apply([put(other, 5)], 5)) == [(LEFT, "b")]


def test_who_says_something_else_has_not_vanished() -> None:
    brake = Brake(0.5, fewest=1)
    roster = Roster(brake, tags={"v": "3"})
    roster.apply([put(new_instance("s", "a", id="a", metadata={"v": "3"}), 2)], 2)
    assert told(roster.apply([put(A, 3)], 3)) == [(LEFT, "a")]
    assert not roster.kept(0)
