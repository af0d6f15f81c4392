"""Picking from a view: who is chosen, who is left out, and waiting for somebody; both faces on the direct port."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import Counter
from typing import Any

import pytest

from coord.errors import ClosedError, NoInstances, UsageError
from coord.ops import Put, Txn
from coord.recipes.registry.instance import LEAVING, UNHEALTHY, Instance, new_instance
from coord.recipes.registry.view import AsyncView, View
from tests.unit.recipes.direct import Place
from tests.unit.recipes.test_registry import Looped, Moved, client_of, leave


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def client(place: Place) -> Moved:
    made = Moved(place, 1)
    place.clients.append(made)
    return made


def register(place: Place, name: str, **facts: Any) -> None:
    made = new_instance("s", f"{name}:1", id=name, **facts)
    place.server.txn(Txn(then=(Put(made.key, made.encode()),)))


def picks(view: View, count: int = 40) -> Counter[str]:
    return Counter(view.pick().id for _ in range(count))


def test_round_robin_unless_said_otherwise(place: Place, client: Moved) -> None:
    for name in "abcd":
        register(place, name)
    with View(client, "s") as view:
        assert picks(view) == dict.fromkeys("abcd", 10)


def test_who_takes_no_calls_is_not_picked(place: Place, client: Moved) -> None:
    register(place, "a")
    register(place, "b", weight=0)
    register(place, "c", state=UNHEALTHY)
    register(place, "d", state=LEAVING)
    register(place, "e", state="what a later version says")
    with View(client, "s") as view:
        assert set(picks(view)) == {"a"}
        assert {each.id for each in view.instances} == set("abce"), "registered all the same, but for who leaves"


def test_picks_follow_the_changes(place: Place, client: Moved) -> None:
    register(place, "a")
    with View(client, "s") as view:
        assert set(picks(view)) == {"a"}
        changes = view.changes()
        next(changes)
        register(place, "b")
        client.turn.release()
        next(changes)
        assert set(picks(view)) == {"a", "b"}
        leave(place, "a")
        client.turn.release()
        next(changes)
        assert set(picks(view)) == {"b"}


def test_nobody_is_an_error_that_says_so(place: Place, client: Moved) -> None:
    register(place, "a", weight=0)
    with View(client, "s") as view:
        with pytest.raises(NoInstances, match="no instance of 's' takes calls") as caught:
            view.pick()
        assert caught.value.service == "s"
        assert caught.value.retryable
        with pytest.raises(NoInstances), view.picked():
            raise AssertionError("entered")
    with pytest.raises(ClosedError, match="not open"):
        view.pick()


def test_waiting_for_somebody(place: Place, client: Moved) -> None:
    with View(client, "s") as view:
        picked: list[Instance] = []
        waits = threading.Thread(target=lambda: picked.append(view.pick(timeout=None)))
        waits.start()
        for name in "ab":
            register(place, name, weight=0 if name == "a" else 1)
            client.turn.release()
        waits.join(10)
        assert [each.id for each in picked] == ["b"], "somebody who takes calls"


def test_waiting_ends_with_the_view(client: Moved) -> None:
    ended: list[BaseException] = []
    with View(client, "s") as view:

        def wait() -> None:
            try:
                view.pick(timeout=None)
            except ClosedError as error:
                ended.append(error)

        waits = threading.Thread(target=wait)
        waits.start()
        while view._following is None or not view._following._listeners:
            threading.Event().wait(0.001)
    waits.join(10)
    assert len(ended) == 1


def test_calls_under_way_are_counted(place: Place, client: Moved) -> None:
    register(place, "a")
    register(place, "b")
    with View(client, "s", balance="least_loaded") as view:
        with view.picked() as one, view.picked() as other:
            assert {one.id, other.id} == {"a", "b"}
            with pytest.raises(ZeroDivisionError), view.picked():
                raise ZeroDivisionError
            with view.picked() as third:
                assert set(picks(view)) == {"a", "b"} - {third.id}
        assert set(picks(view)) == {"a", "b"}, "none is under way"
        assert not view._picker._load


def test_a_failing_one_is_left_out_for_a_while_by_this_view_alone(place: Place, client: Moved) -> None:
    for name in "abc":
        register(place, name)
    with View(client, "s") as view, View(client_of(place), "s") as other:
        bad = view.pick()
        bad.failed()
        assert set(picks(view)) == set("abc") - {bad.id}
        assert set(picks(other)) == set("abc")
        assert len(view.instances) == 3
        place.clock.move_to(client.now() + 5)
        assert set(picks(view)) == set("abc")
        view.failed(view.instances[0])
        assert len(picks(view)) == 2


def test_those_who_vanished_together_are_picked_for_a_while(place: Place, client: Moved) -> None:
    for name in "abc":
        register(place, name)
    with View(client, "s") as view:
        changes = view.changes()
        assert not view.braked
        for name in "abc":
            leave(place, name)
            client.turn.release()
        for _ in range(6):
            next(changes)
        assert view.instances == ()
        assert view.braked
        assert set(picks(view)) == set("abc")
        place.clock.move_to(client.now() + 60)
        with pytest.raises(NoInstances):
            view.pick()
        assert not view.braked


def test_when_all_fail_all_are_tried_in_the_end(place: Place, client: Moved) -> None:
    register(place, "a")
    with View(client, "s") as view:
        view.pick().failed()
        assert view.pick().id == "a"
        register(place, "b")
        client.turn.release()
        for _ in range(5):
            view.pick().failed()
        assert picks(view)


def test_what_was_not_picked_cannot_fail(place: Place, client: Moved) -> None:
    register(place, "a")
    with View(client, "s") as view:
        with pytest.raises(UsageError, match=r"view\.failed"):
            view.instances[0].failed()
        picked = view.pick()
        assert picked == view.instances[0]
        assert hash(picked) == hash(view.instances[0])
        travelled = pickle.loads(pickle.dumps(picked))
        assert travelled == picked
        with pytest.raises(UsageError):
            travelled.failed()


def test_sticky_by_text_or_bytes(place: Place, client: Moved) -> None:
    for name in "abcd":
        register(place, name)
    with View(client, "s", balance="sticky") as view:
        assert {view.pick("u1").id for _ in range(9)} == {view.pick(b"u1").id}
        assert len({view.pick(f"u{number}").id for number in range(100)}) == 4
        with pytest.raises(UsageError, match="by a key"):
            view.pick()
        with pytest.raises(UsageError, match="text or bytes, not 5"):
            view.pick(5)  # type: ignore[arg-type]  # the mistake


def test_the_balance_is_checked_at_once(client: Moved) -> None:
    for kind in (View, AsyncView):
        with pytest.raises(UsageError, match="balance is one of"):
            kind(client, "s", balance="best")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(UsageError, match="zone="):
            kind(client, "s", balance="zone_first")


def test_on_asyncio() -> None:
    async def program() -> None:
        place = Place()
        client = Looped(place, 1)
        async with asyncio.timeout(10), AsyncView(client, "s", balance="zone_first", zone="z", brake=1) as view:
            with pytest.raises(NoInstances):
                await view.pick()
            waits = asyncio.create_task(view.pick(timeout=None))
            await asyncio.sleep(0)
            register(place, "a")
            assert (await waits).id == "a"
            changes = view.changes()
            register(place, "b", zone="z")
            register(place, "c", zone="z")
            told = [(await anext(changes)).instance.id for _ in range(3)]
            assert told == ["a", "b", "c"]
            async with view.picked() as one:
                assert one.zone == "z"
                assert view._picker._load == {one.key: 1}
                one.failed()
                assert {(await view.pick()).id for _ in range(20)} == {"b", "c"} - {one.id}
            assert not view._picker._load
            leave(place, "a")
            leave(place, "b")
            leave(place, "c")
            assert [(await anext(changes)).instance.id for _ in range(3)] == ["a", "b", "c"]
            with pytest.raises(NoInstances):
                await view.pick(timeout=0.001)
            waits = asyncio.create_task(view.pick(timeout=None))
            await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await waits

    asyncio.run(program())
