"""The double barrier over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import threading

import coord
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_three_begin_and_end_together(client: coord.Client, other: coord.Client) -> None:
    guard = threading.Lock()
    told: list[str] = []

    def tell(what: str) -> None:
        with guard:
            told.append(what)

    def work(who: coord.Client) -> None:
        for turn in range(2):
            tell(f"comes {turn}")
            with who.double_barrier("round", 3, timeout=PATIENCE):
                tell(f"in {turn}")
                tell(f"leaves {turn}")
            tell(f"out {turn}")

    for join in [in_thread(lambda who=who: work(who)) for who in (client, other, client)]:  # type: ignore[misc]  # mypy cannot infer a default's type
        join()
    for turn in range(2):
        first_in, first_out = told.index(f"in {turn}"), told.index(f"out {turn}")
        assert told[:first_in].count(f"comes {turn}") == 3
        assert told[:first_out].count(f"leaves {turn}") == 3
    assert not client.range("round/", prefix=True).items


def test_one_that_died_holds_nobody_up(client: coord.Client, other: coord.Client) -> None:
    dead = other.double_barrier("round", 2, ttl=3, timeout=PATIENCE)
    entering = in_thread(dead.enter)
    member = client.double_barrier("round", 2, timeout=PATIENCE)
    member.enter()
    entering()
    leaving = in_thread(member.leave)
    until(lambda: len(client.range("round/", prefix=True).items) == 1, "one has left")
    client.lease.revoke(client.range("round/", prefix=True).items[0].lease)
    leaving()


def test_tasks_begin_and_end_together(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client, asyncio.timeout(PATIENCE):
            inside: list[int] = []

            async def work(number: int) -> None:
                async with client.double_barrier("round", 4):
                    inside.append(number)
                assert len(inside) == 4

            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(work(number))
            assert not (await client.range("round/", prefix=True)).items

    asyncio.run(main())
