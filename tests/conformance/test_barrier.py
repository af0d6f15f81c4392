"""The barrier over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio

import pytest

import coord
from coord.errors import CallTimeout
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread


def test_everybody_is_let_through(client: coord.Client, other: coord.Client) -> None:
    barrier = client.barrier("gate")
    barrier.close()
    joins = [in_thread(lambda who=who: who.barrier("gate").wait(timeout=PATIENCE)) for who in (client, other, other)]  # type: ignore[misc]  # mypy cannot infer a default's type
    with pytest.raises(CallTimeout):
        other.barrier("gate").wait(timeout=0.2)
    assert other.barrier("gate").closed()
    other.barrier("gate").open()
    for join in joins:
        join()
    barrier.wait(timeout=0)
    assert not barrier.closed()


def test_tasks_are_let_through(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client, asyncio.timeout(PATIENCE):
            barrier = client.barrier("gate")
            await barrier.close()
            with pytest.raises(CallTimeout):
                await barrier.wait(timeout=0)
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(barrier.wait())
                await client.get("something")
                await barrier.open()
            assert not await barrier.closed()

    asyncio.run(main())
