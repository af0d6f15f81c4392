"""Functions under a lock, on a port without network, on both faces."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import coord
from coord.errors import LockTimeout, UsageError
from coord.recipes.locks.lock import Lock
from coord.recipes.locks.methods import AsyncLockMethods, LockMethods
from coord.recipes.ownership.held import AsyncHeld, Held
from tests.unit.recipes.direct import DirectPort, Place


class Client(LockMethods):
    """A blocking client on a port without network."""

    def __init__(self) -> None:
        self._port = Place().client()

    @property
    def port(self) -> DirectPort:
        return self._port


class AsyncClient(AsyncLockMethods):
    """An asyncio client on a port without network."""

    def __init__(self) -> None:
        self._port = Place().client()

    @property
    def port(self) -> DirectPort:
        return self._port


def names(client: Client | AsyncClient) -> set[bytes]:
    return {key.rpartition(b"/")[0] for key in client.port.place.server.keys(b"")}


def test_a_call_holds_the_lock_while_it_runs() -> None:
    client = Client()

    @client.synchronized("nightly")
    def work(x: int, *, y: int = 2) -> tuple[int, int]:
        """Works."""
        assert names(client) == {b"nightly"}
        assert Lock(client, "nightly").try_acquire() is None
        return x, y

    assert work(1, y=3) == (1, 3)
    assert names(client) == set()
    assert work.__name__ == "work"
    assert work.__doc__ == "Works."
    assert list(inspect.signature(work).parameters) == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "locked"),
    [
        ("user/{user_id}", (7,), {}, b"user/7"),
        ("user/{user_id}", (), {"user_id": "x"}, b"user/x"),
        ("{kind}/{user_id:03d}", (7,), {}, b"plain/007"),
        ("{user_id.real}-{kind[0]}", (7, "abc"), {}, b"7-a"),
        ("{{{user_id}}}", (1,), {}, b"{1}"),
        (b"{user_id}", (1,), {}, b"{user_id}"),
        ("rest/{rest}", (1, "k", 2, 3), {}, b"rest/(2, 3)"),
    ],
)
def test_the_name_is_made_of_the_arguments(name: Any, args: Any, kwargs: Any, locked: bytes) -> None:
    client = Client()
    seen: list[set[bytes]] = []

    @client.synchronized(name)
    def work(user_id: Any, kind: str = "plain", *rest: Any) -> None:
        seen.append(names(client))

    work(*args, **kwargs)
    assert seen == [{locked}]


def test_calls_for_other_arguments_do_not_wait() -> None:
    client = Client()

    @client.synchronized("user/{user_id}", timeout=0)
    def work(user_id: int) -> int:
        return user_id if user_id > 2 else work(user_id + 1)

    assert work(1) == 3
    with Lock(client, "user/2"), pytest.raises(LockTimeout):
        work(1)
    assert names(client) == set()


def test_the_body_may_have_the_guard() -> None:
    client = Client()

    @client.synchronized("nightly", guard="held")
    def work(x: int, held: Held | None = None) -> tuple[int, int]:
        assert held is not None
        held.put("k", str(x))
        return x, held.fence

    x, fence = work(1)
    assert x == 1
    assert fence > 0


def test_an_error_gives_the_lock_back() -> None:
    client = Client()

    @client.synchronized("nightly")
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert names(client) == set()


def test_methods_are_functions_too() -> None:
    client = Client()

    class Shop:
        name = "corner"

        @client.synchronized("shop/{self.name}")
        def open(self) -> set[bytes]:
            return names(client)

    assert Shop().open() == {b"shop/corner"}


async def coroutine(user_id: int) -> None:
    """For asyncio."""


def plain(user_id: int) -> None:
    """For threads."""


def generator(user_id: int) -> Iterator[int]:
    yield user_id


async def async_generator(user_id: int) -> AsyncIterator[int]:
    yield user_id


@pytest.mark.parametrize(
    ("name", "options", "function"),
    [
        ("", {}, plain),
        ("user/{nobody}", {}, plain),
        ("user/{}", {}, plain),
        ("user/{0}", {}, plain),
        ("user/{", {}, plain),
        ("user/{user_id}", {"guard": "user_id"}, plain),
        ("nightly", {"guard": "held"}, plain),
        ("nightly", {"ttl": 0}, plain),
        ("nightly", {"timeout": "soon"}, plain),
        ("nightly", {}, coroutine),
        ("nightly", {}, generator),
        ("nightly", {}, async_generator),
        ("nightly", {}, "nightly"),
    ],
)
def test_mistakes_are_told_when_it_is_decorated(name: str, options: Any, function: Any) -> None:
    for decorate in (Client().synchronized, coord.synchronized):
        with pytest.raises(UsageError):
            decorate(name, **options)(function)
    if function is not coroutine:
        with pytest.raises(UsageError):
            AsyncClient().synchronized(name, **options)(function)


def test_the_default_client_is_asked_for_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_ENDPOINTS", "nonsense://")

    @coord.synchronized("nightly")
    def work() -> None: ...

    @coord.aio.synchronized("nightly")
    async def work_async() -> None: ...

    with pytest.raises(UsageError):
        work()
    with pytest.raises(UsageError):
        asyncio.run(work_async())


def test_the_asyncio_face() -> None:
    async def program() -> None:
        client = AsyncClient()

        @client.synchronized("user/{user_id}", timeout=0, guard="held")
        async def work(user_id: int, held: AsyncHeld | None = None) -> set[bytes]:
            assert held is not None
            await held.put("k", "v")
            await asyncio.sleep(0)
            return names(client) - {b""}

        assert inspect.iscoroutinefunction(work)
        assert await work(7) == {b"user/7"}
        done = await asyncio.gather(work(1), work(1), work(2), return_exceptions=True)
        assert sum(isinstance(each, LockTimeout) for each in done) == 1
        assert names(client) == {b""}

    asyncio.run(program())
