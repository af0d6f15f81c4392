"""Registrations and views, blocking and asyncio, on a port without network."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import coord
from coord.client.keeper.declaring import Stage
from coord.client.ports.background import TaskPrograms
from coord.errors import CallTimeout, ClosedError, PermissionDenied, Unavailable, UsageError
from coord.ops import Delete, Put, Txn
from coord.program import run_blocking
from coord.recipes.common.live import Following
from coord.recipes.registry.instance import Instance, new_instance, service_prefix
from coord.recipes.registry.registration import AsyncRegistration, Registration
from coord.recipes.registry.roster import Change, ChangeKind, Follower
from coord.recipes.registry.view import AsyncView, View, present
from tests.unit.recipes.direct import DirectPort, Place

TTL = 10


class Client(DirectPort):
    """A client as the registry knows it. Its background programs are moved by the test, not by a thread."""

    timeout: float | None = 5.0

    def background(self, program: Any, *, name: str) -> Any:
        return Handle(program(self))


class Handle:
    def __init__(self, program: Coroutine[Any, Any, None]) -> None:
        self.program = program
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.program.close()


def client_of(place: Place) -> Client:
    made = Client(place, len(place.clients) + 1)
    place.clients.append(made)
    return made


def registered(client: Any, *, ttl: Any = TTL, **facts: Any) -> Registration:
    return Registration(client, new_instance("s", facts.pop("address", "a:1"), **facts), ttl)


def stored(place: Place) -> list[Instance]:
    return list(run_blocking(present(client_of(place), "s", 5.0)))


# --- registrations


def test_it_stands_in_the_store_when_it_is_settled_and_goes_when_it_is_closed() -> None:
    place = Place()
    client = client_of(place)
    with registered(client, metadata={"v": "1"}, weight=3, zone="z", id="i").settle() as made:
        (found,) = stored(place)
        assert (found.id, found.address, found.metadata, found.weight, found.zone) == ("i", "a:1", {"v": "1"}, 3, "z")
        assert "kept" in repr(made)
    assert stored(place) == []
    assert "closed" in repr(made)
    made.close()


def test_it_goes_with_an_exception_too() -> None:
    place = Place()
    with pytest.raises(ZeroDivisionError), registered(client_of(place)).settle():
        raise ZeroDivisionError
    assert stored(place) == []


def test_it_hangs_on_the_clients_lease() -> None:
    place = Place()
    client = client_of(place)
    registered(client).settle()
    place.clock.advance(TTL + 1)
    place.server.expire()
    assert stored(place) == [], "its process did nothing any more"


def test_it_comes_back_after_its_lease_was_lost() -> None:
    place = Place()
    client = client_of(place)
    made = registered(client).settle()
    place.server.revoke(client.sessions()[0].lease)
    assert stored(place) == []
    client.lose()
    made.settle()
    assert [each.address for each in stored(place)] == ["a:1"]


def test_an_update_says_something_else() -> None:
    place = Place()
    made = registered(client_of(place), metadata={"v": "1"}, zone="z", id="i").settle()
    assert made.update(weight=0).weight == 0
    assert made.update(address="b:2", metadata={}, zone="").address == "b:2"
    (found,) = stored(place)
    assert (found.address, found.metadata, found.weight, found.zone, found.id) == ("b:2", {}, 0, "", "i")
    assert made.instance.address == "b:2"


def test_a_bad_update_changes_nothing() -> None:
    place = Place()
    made = registered(client_of(place)).settle()
    wrongs: tuple[dict[str, Any], ...] = ({"weight": -1}, {"address": ""}, {"metadata": {"a": 1}}, {"zone": 7})
    for wrong in wrongs:
        with pytest.raises(UsageError):
            made.update(**wrong)
    assert made.instance.address == "a:1"
    assert [each.weight for each in stored(place)] == [1]


def test_a_closed_one_takes_no_updates() -> None:
    made = registered(client_of(Place())).settle()
    made.close()
    with pytest.raises(ClosedError, match="registration was closed"):
        made.update(weight=2)
    with pytest.raises(ClosedError):
        made.settle()


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan"), "10", None, True, 1e10])
def test_a_time_to_live_that_no_lease_can_have(ttl: Any) -> None:
    client = client_of(Place())
    with pytest.raises(UsageError):
        registered(client, ttl=ttl)
    assert not client.keeper.declarations


def test_an_id_is_registered_once_by_a_client() -> None:
    place = Place()
    client = client_of(place)
    first = registered(client, id="i").settle()
    with pytest.raises(UsageError, match="already"):
        registered(client, id="i")
    first.close()
    registered(client, id="i", address="b:2").settle()
    assert [each.address for each in stored(place)] == ["b:2"]


def test_another_client_takes_an_id_over_and_keeps_it() -> None:
    place = Place()
    first = registered(client_of(place), id="i").settle()
    registered(client_of(place), id="i", address="b:2").settle()
    first.close()
    assert [each.address for each in stored(place)] == ["b:2"]


def test_not_in_time() -> None:
    client = client_of(Place())
    client.reachable = False
    before = client.now()
    with pytest.raises(CallTimeout):
        registered(client).settle(timeout=2)
    assert client.now() - before == pytest.approx(2)
    client.timeout = 7.0
    before = client.now()
    with pytest.raises(CallTimeout):
        registered(client).settle()
    assert client.now() - before == pytest.approx(7), "the client's own limit"


def test_asyncio_registrations() -> None:
    async def program() -> None:
        place = Place()
        client = client_of(place)
        async with AsyncRegistration(client, new_instance("s", "a:1"), TTL, 5.0) as made:
            assert len(await present(client, "s", 5.0)) == 1
            assert (await made.update(weight=4)).weight == 4
        assert await present(client, "s", 5.0) == ()
        made = await AsyncRegistration(client, new_instance("s", "b:1"), TTL, 5.0)
        assert len(await present(client, "s", 5.0)) == 1
        await made.close()
        await made.close()

    asyncio.run(program())


def test_an_asyncio_registration_that_does_not_come_about_is_taken_back() -> None:
    async def program() -> None:
        client = client_of(Place())
        client.reachable = False
        with pytest.raises(CallTimeout):
            async with AsyncRegistration(client, new_instance("s", "a:1"), TTL, 1.0):
                raise AssertionError("entered")
        assert all(kept.stage is not Stage.KEPT for kept in client.keeper.declarations)

    asyncio.run(program())


# --- looking once


def test_who_is_there_oldest_first() -> None:
    place = Place()
    client = client_of(place)
    for name in ("c", "a", "b"):
        registered(client, id=name).settle()
    assert [each.id for each in stored(place)] == ["c", "a", "b"]
    Registration(client, new_instance("t", "x", id="d"), TTL).settle()
    assert [each.id for each in run_blocking(present(client, "", 5.0))] == ["c", "a", "b", "d"]


def test_looking_ends_in_time_and_leaves_no_watch() -> None:
    client = client_of(Place())
    run_blocking(present(client, "s", 5.0))
    assert not client.hub.watchers
    assert run_blocking(present(client, "s", 0)) == (), "one request may take its time"
    client.troubles.append(Unavailable("down"))
    with pytest.raises(Unavailable):
        run_blocking(present(client, "s", 5.0))


# --- following


class Moved(Client):
    """Background programs run in a thread, and look for events whenever the test gives them a turn."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(place, number)
        self.turn = threading.Semaphore(0)
        self.stopping = False

    def background(self, program: Any, *, name: str) -> Any:
        self.stopping = False
        return Running(self, program(self))

    async def _wait(self, *arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            self.turn.acquire()
            if self.stopping:
                raise ClosedError("the background program was stopped")
        return await super()._wait(*arguments, **options)


class Running:
    def __init__(self, client: Moved, program: Coroutine[Any, Any, None]) -> None:
        self._client = client
        self._thread = threading.Thread(target=self._run, args=(program,))
        self._thread.start()

    def _run(self, program: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(coord.CoordError):
            run_blocking(program)

    def stop(self) -> None:
        self._client.stopping = True
        self._client.turn.release()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def client(place: Place) -> Moved:
    made = Moved(place, 1)
    place.clients.append(made)
    return made


def register(place: Place, name: str, address: str = "x") -> None:
    made = new_instance("s", address, id=name)
    place.server.txn(Txn(then=(Put(made.key, made.encode()),)))


def leave(place: Place, name: str) -> None:
    place.server.txn(Txn(then=(Delete(service_prefix("s") + name.encode()),)))


def take(changes: Iterator[Change], count: int) -> list[tuple[ChangeKind, str]]:
    return [(change.kind, change.instance.id) for change in itertools.islice(changes, count)]


def test_an_open_view_shows_who_is_there_and_keeps_up(place: Place, client: Moved) -> None:
    register(place, "a")
    with View(client, "s") as view:
        assert [each.id for each in view.instances] == ["a"]
        assert "instances=1" in repr(view)
        changes = view.changes()
        assert next(changes).kind is ChangeKind.JOINED
        register(place, "b")
        client.turn.release()
        change = next(changes)
        assert (change.kind, change.instance.id) == (ChangeKind.JOINED, "b")
        assert [each.id for each in view.instances] == ["a", "b"], "never behind what changes() told"
    assert not client.hub.watchers


def test_who_looks_rarely_sees_the_sum(place: Place, client: Moved) -> None:
    with View(client, "s") as view:
        changes = view.changes()
        register(place, "a")
        register(place, "b")
        leave(place, "a")
        for _ in range(3):
            client.turn.release()
        while view._following is not None and view._following.follower.seen.revision < place.server.machine.revision:
            threading.Event().wait(0.001)
        assert take(changes, 1) == [(ChangeKind.JOINED, "b")]


def test_iterating_ends_with_the_view(place: Place, client: Moved) -> None:
    register(place, "a")
    view = View(client, "s")
    seen: list[str] = []
    with view:
        changes = view.changes()
        seen.append(next(changes).instance.id)
        rest = threading.Thread(target=lambda: seen.extend(change.instance.id for change in changes))
        rest.start()
    rest.join(10)
    assert not rest.is_alive()
    assert seen == ["a"]


def test_a_closed_view_shows_nothing(client: Moved) -> None:
    view = View(client, "s")
    with pytest.raises(ClosedError, match="not open"):
        _ = view.instances
    with view, pytest.raises(UsageError, match="open already"):
        view.__enter__()
    with pytest.raises(ClosedError, match="not open"):
        _ = view.instances
    view.close()


def test_a_view_can_be_opened_again(place: Place, client: Moved) -> None:
    view = View(client, "s")
    with view:
        assert not view.instances
    register(place, "a")
    with view:
        assert [each.id for each in view.instances] == ["a"], "not what was seen the last time"


def test_a_view_that_may_not_read_does_not_open(client: Moved) -> None:
    client.troubles.append(PermissionDenied("no", code=7, text="no"))
    view = View(client, "s")
    with pytest.raises(PermissionDenied), view:
        raise AssertionError("entered")
    assert view._running is None


def test_a_view_that_fails_later_says_so(place: Place, client: Moved) -> None:
    with View(client, "s") as view:
        changes = view.changes()
        client.troubles.append(PermissionDenied("no", code=7, text="no"))
        register(place, "a")
        register(place, "b")
        place.server.compact()
        client.turn.release()
        with pytest.raises(PermissionDenied):
            next(changes)
        with pytest.raises(PermissionDenied):
            _ = view.instances


def test_a_mistake_of_ours_does_not_leave_an_old_state_standing() -> None:
    class Broken(Client):
        async def range(self, request: Any, *, deadline: float | None) -> Any:
            raise ZeroDivisionError

    following = Following(Follower(client_of(Place()), "s"))
    with pytest.raises(ZeroDivisionError):
        run_blocking(following.run(Broken(Place(), 1)))
    with pytest.raises(ZeroDivisionError):
        following.check()


def test_opening_ends_in_time(client: Moved) -> None:
    client.troubles += [Unavailable("down")] * 400
    before = client.now()
    with pytest.raises(CallTimeout, match="'s' could not be read in time") as caught, View(client, "s", timeout=3):
        raise AssertionError("entered")
    assert isinstance(caught.value.__cause__, Unavailable)
    assert 2 <= client.now() - before <= 3


def test_changes_without_an_open_view(place: Place) -> None:
    client = client_of(place)
    register(place, "a")
    changes = View(client, "s").changes()
    assert take(changes, 1) == [(ChangeKind.JOINED, "a")]
    register(place, "b")
    leave(place, "b")
    changes = View(client, "s").changes()
    next(changes)
    client.while_waiting.append(lambda: leave(place, "a"))
    assert next(changes).kind is ChangeKind.LEFT
    changes.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(client.hub.watchers) <= 1


def test_names_are_checked_at_once() -> None:
    for kind in (View, AsyncView):
        with pytest.raises(UsageError):
            kind(client_of(Place()), 5)  # type: ignore[arg-type]  # the mistake


class Looped(Client):
    """Background programs are tasks; watching gives way to the test."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(place, number)
        self.programs = TaskPrograms(self)

    def background(self, program: Any, *, name: str) -> Any:
        return self.programs.start(program, name=name)

    async def _wait(self, attempt: Any, listen: Any, *, until: float | None, session: Any = None) -> Any:
        while True:
            self.keep()
            self.hub.arrive()
            got = attempt()
            if got is not None:
                return got
            if until is not None:
                self.place.clock.move_to(max(self.now(), until))
                await asyncio.sleep(0)
                return None
            await asyncio.sleep(0)


def test_asyncio_views() -> None:
    async def program() -> None:
        place = Place()
        client = Looped(place, 1)
        register(place, "a")
        async with asyncio.timeout(10):
            async with AsyncView(client, "s") as view:
                assert [each.id for each in view.instances] == ["a"]
                changes = view.changes()
                assert (await anext(changes)).kind is ChangeKind.JOINED
                register(place, "b")
                assert (await anext(changes)).instance.id == "b"
                assert [each.id for each in view.instances] == ["a", "b"]
                rest = asyncio.create_task(collected(changes))
                await asyncio.sleep(0)
            assert await rest == [], "iterating ends with the view"
            assert not client.hub.watchers
            with pytest.raises(ClosedError):
                _ = view.instances
            first = await anext(AsyncView(client, "s").changes())
            assert first.instance.id == "a"
            client.troubles.append(PermissionDenied("no", code=7, text="no"))
            with pytest.raises(PermissionDenied):
                async with view:
                    raise AssertionError("entered")

    asyncio.run(program())


async def collected(changes: Any) -> list[Any]:
    return [change async for change in changes]


def test_opening_an_asyncio_view_can_be_cancelled() -> None:
    async def program() -> None:
        client = Looped(Place(), 1)
        client.troubles += [Unavailable("down")] * 400
        view = AsyncView(client, "s", timeout=None)
        opening = asyncio.create_task(view.__aenter__())
        for _ in range(3):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert view._running is None

    asyncio.run(program())


def test_both_faces_have_the_same_signatures() -> None:
    for blocking, other in ((Registration, AsyncRegistration), (View, AsyncView)):
        for name in ("update", "settle", "close", "changes"):
            if hasattr(blocking, name):
                mine = inspect.signature(getattr(blocking, name)).parameters
                assert list(mine) == list(inspect.signature(getattr(other, name)).parameters)
