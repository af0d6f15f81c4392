"""The latch over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio

import pytest

import coord
from coord.errors import CallTimeout, UsageError
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread


def test_everybody_counts_once(client: coord.Client, other: coord.Client) -> None:
    waiting = in_thread(lambda: other.latch("ready", 12).wait(timeout=PATIENCE))
    lefts: list[int] = []

    def work(who: coord.Client) -> None:
        latch = who.latch("ready", 12)
        lefts.extend(latch.count_down() for _ in range(3))

    joins = [in_thread(lambda who=who: work(who)) for who in (client, other, client)]  # type: ignore[misc]  # mypy cannot infer a default's type
    for join in joins:
        join()
    assert sorted(lefts) == list(range(3, 12))
    with pytest.raises(CallTimeout):
        client.latch("ready", 12).wait(timeout=0.2)
    assert client.latch("ready", 12).count_down(3) == 0
    waiting()
    assert [item.key for item in client.range("ready/", prefix=True).items] == [
        b"ready/latch/count",
        b"ready/latch/done",
    ]


def test_another_count(client: coord.Client, other: coord.Client) -> None:
    client.latch("ready", 3).count_down()
    with pytest.raises(UsageError) as caught:
        other.latch("ready", 4).wait()
    assert caught.value.stored == 3


def test_tasks_count_down(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client, asyncio.timeout(PATIENCE):
            latch = client.latch("ready", 5)
            async with asyncio.TaskGroup() as group:
                group.create_task(latch.wait())
                for _ in range(5):
                    group.create_task(latch.count_down())
            assert await latch.count() == 0

    asyncio.run(main())
