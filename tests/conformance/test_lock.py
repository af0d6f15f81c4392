"""The lock over real connections: threads, tasks, clients and etcdctl exclude each other on every server."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

import pytest

import coord
from coord.errors import LockLost, LockTimeout
from coord.model import LeaseState
from coord.recipes.locks.lock import Lock
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_two_clients_exclude_each_other(client: coord.Client, other: coord.Client) -> None:
    with client.lock("stock") as held:
        assert held.state is LeaseState.HELD
        assert other.lock("stock").try_acquire() is None
        with pytest.raises(LockTimeout):
            other.lock("stock", timeout=0.2).acquire()
        assert [each.key for each in client.lock("stock").contenders()] == [held.key]
    after = other.lock("stock").acquire(timeout=5)
    assert after.fence > held.fence
    after.release()
    assert client.lock("stock").holder() is None


def test_a_waiter_is_woken_by_the_release(client: coord.Client, other: coord.Client) -> None:
    held = client.lock("stock").acquire()
    waiting = in_thread(lambda: other.lock("stock", timeout=PATIENCE).acquire())
    until(lambda: len(client.lock("stock").contenders()) == 2, "the waiter stands in the queue")
    held.release()
    after = waiting()
    assert after.fence > held.fence
    after.release()


def test_threads_and_clients_count_without_losing_any(client: coord.Client, other: coord.Client) -> None:
    """Read, add one, write: without exclusion numbers would be lost."""

    def count(who: coord.Client) -> None:
        lock = Lock(who, "counter")
        for _ in range(5):
            with lock as held:
                found = who.get("n")
                held.put("n", str(int(found.text if found else "0") + 1))

    joins = [in_thread(lambda who=who: count(who)) for who in (client, client, other, other)]  # type: ignore[misc]  # mypy cannot infer a default's type
    for join in joins:
        join()
    found = client.get("n")
    assert found is not None
    assert found.text == "20"
    assert client.lock("counter").contenders() == []


def test_tasks_count_without_losing_any(server: ServerProcess, prefix: bytes) -> None:
    async def count(client: coord.aio.Client) -> None:
        for _ in range(5):
            async with client.lock("counter") as held:
                found = await client.get("n")
                await held.put("n", str(int(found.text if found else "0") + 1))

    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(count(client))
            found = await client.get("n")
            assert found is not None
            assert found.text == "20"
            assert await client.lock("counter").contenders() == []

    asyncio.run(main())


def test_giving_up_leaves_neither_keys_nor_leases(client: coord.Client, other: coord.Client) -> None:
    held = client.lock("stock").acquire()
    lock = other.lock("stock", timeout=0.05)
    for _ in range(10):
        with pytest.raises(LockTimeout):
            lock.acquire()
    until(lambda: len(client.lock("stock").contenders()) == 1, "only the holder is left")
    assert len(other.port.keeper._sessions) <= 1
    held.release()


def test_a_revoked_lease_is_noticed(client: coord.Client, other: coord.Client) -> None:
    held = client.lock("stock", ttl=3).acquire()
    other.lease.revoke(held.lease)
    until(held.lost.is_set, "the holder hears of it")
    with pytest.raises(LockLost) as caught:
        held.check()
    assert caught.value.cause == "expired"
    after = other.lock("stock").acquire(timeout=5)
    after.release()


def test_etcdctl_waits_for_us(
    client: coord.Client, prefix: bytes, etcdctl: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDCTL_API", "3")
    held = client.lock("stock").acquire()
    name = (prefix + b"stock").decode()
    with subprocess.Popen(etcdctl("lock", name, "echo", "mine"), stdout=subprocess.PIPE, text=True) as command:
        try:
            until(lambda: len(client.lock("stock").contenders()) == 2, "etcdctl stands in the queue")
            assert command.poll() is None
            held.release()
            told, _ = command.communicate(timeout=PATIENCE)
            assert told == "mine\n"
        finally:
            command.kill()
    until(lambda: not client.lock("stock").contenders(), "etcdctl leaves")


def test_we_wait_for_etcdctl(
    client: coord.Client, prefix: bytes, etcdctl: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDCTL_API", "3")
    name = (prefix + b"stock").decode()
    lock = client.lock("stock")
    with subprocess.Popen(etcdctl("lock", name), stdout=subprocess.PIPE, text=True) as command:
        try:
            assert command.stdout is not None
            shown = command.stdout.readline().strip()
            assert shown.startswith(name + "/"), "it prints its key when it holds the lock"
            holder = lock.holder()
            assert holder is not None
            assert prefix + holder.key == shown.encode()
            assert lock.try_acquire() is None
            waiting = in_thread(lambda: lock.acquire(timeout=PATIENCE))
            until(lambda: len(lock.contenders()) == 2, "we stand in the queue")
            command.terminate()
            held = waiting()
            assert held.state is LeaseState.HELD
            held.release()
        finally:
            command.kill()


@pytest.mark.parametrize("while_down", ["waiting", "holding"])
def test_a_restart_of_the_server_loses_no_place(fresh_server: Callable[..., ServerProcess], while_down: str) -> None:
    server = fresh_server()
    with coord.connect(server.endpoint) as client, coord.connect(server.endpoint) as other:
        held = client.lock("stock", ttl=20).acquire()
        waiting = in_thread(lambda: other.lock("stock", ttl=20, timeout=2 * PATIENCE).acquire())
        until(lambda: len(client.lock("stock").contenders()) == 2, "the other stands in the queue")
        places = [each.key for each in client.lock("stock").contenders()]
        server.restart()
        held.check()
        assert [each.key for each in client.lock("stock").contenders(timeout=PATIENCE)] == places
        if while_down == "holding":
            held.put("k", "v")
        held.release()
        after = waiting()
        assert after.key == places[1]
        after.release()
