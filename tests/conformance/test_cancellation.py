"""A task cancelled at any await leaves nothing behind: no key, no ticket, no event lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from coord.client.aio import AsyncClient
from coord.errors import CoordError
from coord.ops import Txn, missing, put
from coord.port import Port, WatchTarget
from tests.benches import no_threads_left
from tests.servers import ServerProcess

PATIENCE = 10.0
POSITIONS = range(60)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with no_threads_left():
        yield


async def hold_a_place(port: Port) -> None:
    """What every recipe does: claim, wait for news, leave."""
    session = await port.session(30, deadline=port.now() + PATIENCE)
    ticket = port.ticket(session, b"place")
    try:
        request = Txn((missing(ticket.key),), (put(ticket.key, lease=session.lease),))
        done = await port.claim(ticket, request, deadline=port.now() + PATIENCE)
        watching = port.watch([WatchTarget(ticket.key)], from_revision=done.header.revision)
        await watching.next(deadline=port.now() + PATIENCE, session=session)
        watching.close()
    except BaseException:
        await port.withdraw(ticket)
        raise
    await port.withdraw(ticket)


async def cancelled_at(position: int, times: int, program: Coroutine[Any, Any, None], pause: float = 0.0002) -> bool:
    """Run the program, cancel it when the loop has turned `position` times; True if it was still running then.

    With the pause the turns are long enough for servers to answer; without, the program has hardly begun.
    """
    task = asyncio.create_task(program)
    for _ in range(position):
        await asyncio.sleep(0)
        if not task.done() and pause:
            await asyncio.sleep(pause)
    running = not task.done()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    try:
        await task
    except asyncio.CancelledError:
        assert running
    return running


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], what: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)
            assert what


@pytest.mark.parametrize("times", [1, 2, 5])
def test_cancelling_anywhere_leaves_no_key(times: int, server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(server.endpoint, namespace=prefix) as client:
            for position in POSITIONS:
                await cancelled_at(position, times, hold_a_place(client.port))

            async def clean() -> bool:
                return not (await client.range("place/", prefix=True)).items

            await until(clean, "every key is gone")
            await hold_a_place(client.port)
            assert await clean()

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_withdrawal_is_done_when_its_cancelled_task_ends(times: int, server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(server.endpoint, namespace=prefix) as client:
            session = await client.session(30)

            async def withdraw() -> None:
                await client.port.withdraw(ticket)

            for position in range(1, 12):
                ticket = client.port.ticket(session, b"place")
                request = Txn((missing(ticket.key),), (put(ticket.key, lease=session.lease),))
                await client.port.claim(ticket, request, deadline=client.port.now() + PATIENCE)
                await cancelled_at(position, times, withdraw(), pause=0)
                assert await client.get(ticket.key) is None

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 3])
def test_cancelling_a_wait_loses_no_event(times: int, server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(server.endpoint, namespace=prefix) as client, client.watch("w") as watch:
            got: list[int] = []

            async def take() -> None:
                got.append((await watch.next(timeout=PATIENCE)).revision)

            wanted = []
            for position in range(12):
                wanted.append((await client.put("w")).revision)
                await cancelled_at(position, times, take())
            while len(got) < len(wanted):
                await take()
            assert got == wanted

    asyncio.run(main())


def test_cancelling_while_the_watch_opens_leaves_it_usable(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(server.endpoint, namespace=prefix) as client:
            for position in range(30):

                async def opened() -> None:
                    async with client.watch("w"):
                        pass

                await cancelled_at(position, 1, opened())
            async with client.watch("w") as watch:
                revision = (await client.put("w")).revision
                assert (await watch.next(timeout=PATIENCE)).revision == revision

    asyncio.run(main())


def test_cancelling_a_close_closes_all_the_same(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(server.endpoint, namespace=prefix) as other:
            for position in range(1, 12):
                client = AsyncClient(server.endpoint, namespace=prefix)
                session = await client.session(30)
                await client.put("held", lease=session.lease)
                await cancelled_at(position, 2, client.port.close(), pause=0)
                assert "coord-keeper" not in [thread.name for thread in threading.enumerate()]
                assert await other.get("held") is None
                await client.close()

    asyncio.run(main())


def test_programs_of_a_loop_that_ends_are_no_trouble(server: ServerProcess, prefix: bytes) -> None:
    """`asyncio.run` cancels what is left, ours too, and nothing of it may hang or complain."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        client = AsyncClient(server.endpoint, namespace=prefix)
        watch = client.watch("w")
        await watch.__aenter__()
        asyncio.create_task(_patient(client))  # noqa: RUF006 - dropped on purpose
        await asyncio.sleep(0)
        await client.close()

    asyncio.run(main())
    assert not complaints


async def _patient(client: AsyncClient) -> None:
    try:
        await client.port.sleep(until=client.port.now() + 3600)
    except CoordError:
        return
