"""The re-entrant lock and functions under a lock over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio

import pytest

import coord
from coord.errors import LockLost, LockTimeout
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_it_is_entered_again_and_others_wait(client: coord.Client, other: coord.Client) -> None:
    mine = client.rlock("stock")
    with mine as outer:
        with mine as inner:
            assert inner.fence == outer.fence
            assert other.rlock("stock").try_acquire() is None
            assert other.lock("stock").try_acquire() is None
        outer.put("k", "v")
        assert other.lock("stock").try_acquire() is None
        assert in_thread(mine.try_acquire)() is None
    other.lock("stock").acquire(timeout=5).release()


def test_threads_of_one_owner_share_it(client: coord.Client, other: coord.Client) -> None:
    busy = other.lock("stock").acquire()
    lock = client.rlock("stock", owner="job-7", timeout=PATIENCE)
    joins = [in_thread(lock.acquire) for _ in range(3)]
    until(lambda: len(lock.contenders()) == 2, "one of them stands in the queue")
    busy.release()
    guards = [join() for join in joins]
    assert len({guard.fence for guard in guards}) == 1
    assert [each.owner.task for each in lock.contenders()] == ["job-7"]
    for guard in guards:
        assert other.lock("stock").try_acquire() is None
        guard.release()
    other.lock("stock").acquire(timeout=5).release()


def test_a_revoked_lease_ends_all_of_it(client: coord.Client, other: coord.Client) -> None:
    lock = client.rlock("stock", ttl=3)
    outer = lock.acquire()
    inner = lock.acquire()
    other.lease.revoke(outer.lease)
    until(inner.lost.is_set, "the holder hears of it")
    with pytest.raises(LockLost):
        lock.acquire()
    inner.release()
    outer.release()
    lock.acquire(timeout=5).release()


def test_functions_run_one_at_a_time(client: coord.Client, other: coord.Client) -> None:
    def counting(who: coord.Client) -> None:
        @who.synchronized("count/{name}", timeout=PATIENCE)
        def count(name: str) -> None:
            found = who.get(name)
            who.put(name, str(int(found.text if found else "0") + 1))

        for _ in range(5):
            count("n")

    for join in [in_thread(lambda who=who: counting(who)) for who in (client, other, client)]:  # type: ignore[misc]  # mypy cannot infer a default's type
        join()
    found = client.get("n")
    assert found is not None
    assert found.text == "15"


def test_tasks(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:

            @client.synchronized("job", timeout=0)
            async def job() -> str:
                async with client.rlock("stock") as outer, client.rlock("stock") as inner:
                    assert outer.fence == inner.fence
                    await inner.put("k", "v")
                return "done"

            done = await asyncio.gather(job(), job(), return_exceptions=True)
            assert "done" in done
            assert all(each == "done" or isinstance(each, LockTimeout) for each in done)

    asyncio.run(main())
