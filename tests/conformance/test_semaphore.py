"""The semaphore over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import threading

import pytest

import coord
from coord.errors import UsageError
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_no_more_at_once_than_there_are_permits(client: coord.Client, other: coord.Client) -> None:
    inside: list[str] = []
    most: list[int] = []
    guard = threading.Lock()

    def work(who: coord.Client) -> None:
        pool = who.semaphore("pool", 2, timeout=PATIENCE)
        for _ in range(3):
            with pool:
                with guard:
                    inside.append("x")
                    most.append(len(inside))
                who.get("something")
                with guard:
                    inside.pop()

    for join in [in_thread(lambda who=who: work(who)) for who in (client, other, client, other, client)]:  # type: ignore[misc]  # mypy cannot infer a default's type
        join()
    assert len(most) == 15
    assert max(most) == 2
    assert client.semaphore("pool", 2).contenders() == []


def test_first_come_first_served(client: coord.Client, other: coord.Client) -> None:
    order: list[int] = []
    pool = client.semaphore("pool", 2)
    held = [pool.acquire(), pool.acquire()]

    def wait(number: int) -> None:
        with other.semaphore("pool", 2, timeout=PATIENCE):
            order.append(number)

    joins = []
    for number in range(4):
        joins.append(in_thread(lambda number=number: wait(number)))  # type: ignore[misc]  # as above
        until(lambda number=number: len(pool.contenders()) == 3 + number, "it stands in the queue")  # type: ignore[misc]  # as above
    held[0].release()  # the other one is kept, so that they come one after the other
    for join in joins:
        join()
    held[1].release()
    assert order == [0, 1, 2, 3]
    assert pool.contenders() == []


def test_another_number_and_resize(client: coord.Client, other: coord.Client) -> None:
    held = client.semaphore("pool", 1).acquire()
    with pytest.raises(UsageError) as caught:
        other.semaphore("pool", 2).acquire()
    assert caught.value.stored == 1
    waiting = in_thread(lambda: other.semaphore("pool", 1, timeout=PATIENCE).acquire())
    until(lambda: len(client.semaphore("pool", 1).contenders()) == 2, "the other stands in the queue")
    client.semaphore("pool", 1).resize(2)
    waiting().release()
    held.release()


def test_a_revoked_holder_frees_its_permit(client: coord.Client, other: coord.Client) -> None:
    held = client.semaphore("pool", 1, ttl=3).acquire()
    other.lease.revoke(held.lease)
    other.semaphore("pool", 1).acquire(timeout=5).release()
    until(held.lost.is_set, "the holder hears of it")


def test_tasks_share_the_permits(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            inside = 0
            most: list[int] = []

            async def work() -> None:
                nonlocal inside
                async with client.semaphore("pool", 3):
                    inside += 1
                    most.append(inside)
                    await client.get("something")
                    inside -= 1

            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for _ in range(9):
                    group.create_task(work())
            assert len(most) == 9
            assert max(most) <= 3
            assert await client.semaphore("pool", 3).contenders() == []

    asyncio.run(main())
