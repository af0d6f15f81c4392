"""The read/write lock over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio

import coord
from coord.errors import LockTimeout
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_readers_share_and_writers_do_not(client: coord.Client, other: coord.Client) -> None:
    mine, theirs = client.rwlock("stock"), other.rwlock("stock")
    with mine.read(), theirs.read():
        assert mine.write().try_acquire() is None
        assert [each.holds for each in theirs.contenders()] == [True, True]
    with theirs.write() as held:
        assert mine.read().try_acquire() is None
        held.put("k", "v")
    assert mine.contenders() == []


def test_a_writer_goes_before_readers_that_came_later(client: coord.Client, other: coord.Client) -> None:
    order: list[str] = []
    first = client.rwlock("stock").read().acquire()

    def write() -> None:
        with other.rwlock("stock").write().acquire(timeout=PATIENCE):
            order.append("writer")

    def read() -> None:
        with client.rwlock("stock").read().acquire(timeout=PATIENCE):
            order.append("reader")

    writer = in_thread(write)
    until(lambda: len(client.rwlock("stock").contenders()) == 2, "the writer stands in the queue")
    readers = [in_thread(read) for _ in range(3)]
    until(lambda: len(client.rwlock("stock").contenders()) == 5, "the readers stand behind it")
    assert [each.holds for each in client.rwlock("stock").contenders()] == [True, False, False, False, False]
    first.release()
    for join in (writer, *readers):
        join()
    assert order == ["writer", "reader", "reader", "reader"]


def test_tasks_read_and_write_without_losing_anything(server: ServerProcess, prefix: bytes) -> None:
    async def count(client: coord.aio.Client, seen: list[int]) -> None:
        for _ in range(3):
            async with client.rwlock("counter").write() as held:
                found = await client.get("n")
                await held.put("n", str(int(found.text if found else "0") + 1))
            async with client.rwlock("counter").read():
                found = await client.get("n")
                seen.append(int(found.text if found else "0"))

    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            seen: list[int] = []
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(count(client, seen))
            assert len(seen) == 12
            assert max(seen) == 12
            assert await client.rwlock("counter").contenders() == []

    asyncio.run(main())


def test_giving_up_leaves_no_key(client: coord.Client, other: coord.Client) -> None:
    with client.rwlock("stock").read() as held:
        for _ in range(3):
            try:
                other.rwlock("stock").write().acquire(timeout=0.05).release()
            except LockTimeout:
                continue
            raise AssertionError("a writer came in")
        until(lambda: len(client.rwlock("stock").contenders()) == 1, "only the reader is left")
        assert client.rwlock("stock").contenders()[0].key == held.key
