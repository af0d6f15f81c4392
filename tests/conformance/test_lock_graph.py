"""The wait graph over real connections, on every server."""

from __future__ import annotations

import asyncio
import threading

import coord
from coord.errors import LockTimeout
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_a_deadlock_of_two_clients_is_seen(client: coord.Client, other: coord.Client) -> None:
    both = threading.Barrier(2)

    def cross(who: coord.Client, first: str, second: str) -> str:
        threading.current_thread().name = f"from {first}"
        with who.lock(first):
            both.wait(PATIENCE)
            try:
                with who.lock(second, timeout=3):
                    return "through"
            except LockTimeout:
                return "gave up"

    joins = [in_thread(lambda: cross(client, "shop/a", "shop/b")), in_thread(lambda: cross(other, "shop/b", "shop/a"))]
    (circle,) = until(lambda: client.lock_graph("shop/").cycles(), "the circle is seen")
    assert [wait.waiter.owner.task for wait in circle] == ["from shop/a", "from shop/b"]
    assert [wait.name for wait in circle] == ["shop/b", "shop/a"]
    assert "gave up" in [join() for join in joins]
    assert client.lock_graph("shop/").locks == ()


def test_all_kinds_at_one_revision(client: coord.Client, other: coord.Client) -> None:
    with (
        client.lock("shop/a"),
        client.rwlock("shop/b").read(),
        other.rwlock("shop/b").read(),
        client.semaphore("shop/c", 2),
        client.locks("shop/d", "shop/e"),
    ):
        graph = other.lock_graph("shop/")
        assert [(each.name, each.kind, len(each.holders)) for each in graph.locks] == [
            ("shop/a", "lock", 1),
            ("shop/b", "rwlock", 2),
            ("shop/c", "semaphore", 1),
            ("shop/d", "lock", 1),
            ("shop/e", "lock", 1),
        ]
        assert graph.waits() == []
    assert client.lock_graph("shop/").locks == ()


async def _graph(server: ServerProcess, prefix: bytes) -> list[str]:
    async with coord.aio.connect(server.endpoint, namespace=prefix) as client, client.lock("shop/a"):
        return [each.name for each in (await client.lock_graph()).locks]


def test_the_asyncio_face(server: ServerProcess, prefix: bytes) -> None:
    assert asyncio.run(_graph(server, prefix)) == ["shop/a"]
