"""Several names as one lock over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import itertools

import pytest

import coord
from coord.errors import LockLost
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_transfers_in_all_directions_lose_no_money(client: coord.Client, other: coord.Client) -> None:
    """Every pair of accounts in both orders at once: without order they would wait for each other."""
    accounts = ("accounts/1", "accounts/2", "accounts/3")
    for account in accounts:
        client.put(f"money/{account}", "100")

    def transfer(who: coord.Client, source: str, target: str) -> None:
        for _ in range(2):
            with who.locks(source, target, timeout=PATIENCE) as held:
                amounts = [int(found.text) for name in (source, target) if (found := who.get(f"money/{name}"))]
                held.txn().put(f"money/{source}", str(amounts[0] - 1)).put(
                    f"money/{target}", str(amounts[1] + 1)
                ).commit()

    pairs = zip(itertools.permutations(accounts, 2), itertools.cycle((client, other)))
    for join in [in_thread(lambda pair=pair, who=who: transfer(who, *pair)) for pair, who in pairs]:  # type: ignore[misc]  # mypy cannot infer a default's type
        join()
    assert [found.text for name in accounts if (found := client.get(f"money/{name}"))] == ["100"] * 3
    assert all(not client.lock(name).contenders() for name in accounts)


def test_a_plain_lock_takes_part(client: coord.Client, other: coord.Client) -> None:
    held = other.lock("b").acquire()
    assert client.locks("a", "b").try_acquire() is None
    waiting = in_thread(lambda: client.locks("b", "a", timeout=PATIENCE).acquire())
    until(lambda: len(other.lock("b").contenders()) == 2, "it stands in the queue of the second")
    assert other.lock("a").try_acquire() is None
    held.release()
    all_of_them = waiting()
    assert list(all_of_them.fences) == ["a", "b"]
    all_of_them.release()
    other.locks("a", "b").acquire(timeout=0).release()


def test_a_revoked_lease_costs_all_of_them(client: coord.Client, other: coord.Client) -> None:
    held = client.locks("a", "b", ttl=3).acquire()
    other.lease.revoke(held.lease)
    with other.locks("a", "b", timeout=PATIENCE), pytest.raises(LockLost):
        held.put("k", "v")


def test_tasks_take_turns(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            order: list[str] = []

            async def work(*names: str) -> None:
                async with client.locks(*names) as held:
                    order.append("in")
                    await held.put("k", "v")
                    order.append("out")

            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for names in (("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")):
                    group.create_task(work(*names))
            assert order == ["in", "out"] * 4

    asyncio.run(main())
