"""Watches and sessions of a client whose server, loop, process or thread is stopped, interrupted or forked."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from coord.client.aio import AsyncClient
from coord.client.blocking import BlockingClient
from coord.errors import CallTimeout, ForkedError, LeaseLost
from coord.model import LeaseState
from coord.ops import Txn, missing, put
from coord.port import Port, Session, Ticket, WatchTarget
from coord.program import run_blocking
from tests.benches import no_threads_left
from tests.conftest import make_server
from tests.servers import ROOT, ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.process

SECONDS = 20.0


@pytest.fixture(scope="module")
def etcd() -> Iterator[ServerProcess]:
    with make_server("etcd34") as server:
        yield server.start()


@pytest.fixture
def client(etcd: ServerProcess, prefix: bytes) -> Iterator[BlockingClient]:
    with no_threads_left(), BlockingClient(etcd.endpoint, namespace=prefix) as made:
        yield made


@pytest.fixture
def other(etcd: ServerProcess, prefix: bytes) -> Iterator[BlockingClient]:
    with BlockingClient(etcd.endpoint, namespace=prefix) as made:
        yield made


def leases(client: BlockingClient) -> set[int]:
    return set(client.lease.list())


async def claim(port: Port, session: Session, name: bytes = b"name") -> Ticket:
    ticket = port.ticket(session, name)
    request = Txn((missing(ticket.key),), (put(ticket.key, lease=session.lease),))
    try:
        await port.claim(ticket, request, deadline=port.now() + SECONDS)
    except BaseException:
        await port.withdraw(ticket)
        raise
    return ticket


# --- a server that stands still


def test_a_server_stopped_for_five_seconds_loses_no_event_and_no_session(
    etcd: ServerProcess, client: BlockingClient, other: BlockingClient
) -> None:
    session = client.session(12)
    other.put("probe")
    with client.watch("w/", prefix=True) as watch:
        first = other.put("w/a").revision
        etcd.pause()
        time.sleep(5)
        assert session.state is not LeaseState.LOST
        etcd.resume()
        second = other.put("w/b", timeout=SECONDS).revision
        assert [watch.next(timeout=SECONDS).revision for _ in range(2)] == [first, second]
    until(lambda: session.state is LeaseState.HELD, "the session is renewed")


def test_a_session_is_lost_here_before_it_is_lost_there(etcd: ServerProcess, client: BlockingClient) -> None:
    session = client.session(2)
    told = threading.Event()
    session.on_lost(told.set)
    etcd.pause()
    began = time.monotonic()
    try:
        assert told.wait(SECONDS)
        assert time.monotonic() - began < session.ttl  # the server would hold it for its full length
        assert session.cause == "unreachable"
    finally:
        etcd.resume()
    assert client.session(2, timeout=SECONDS).lease != session.lease


def test_a_claim_ends_with_its_session_though_nobody_answers(etcd: ServerProcess, client: BlockingClient) -> None:
    port = client.port
    session = client.session(2)
    ticket = port.ticket(session, b"name")
    request = Txn((missing(ticket.key),), (put(ticket.key, lease=session.lease),))
    etcd.pause()
    began = time.monotonic()
    try:
        with pytest.raises(LeaseLost):
            run_blocking(port.claim(ticket, request, deadline=None))
        assert time.monotonic() - began < session.ttl + 1
    finally:
        etcd.resume()


# --- a loop that stands still


def test_a_blocked_loop_keeps_its_session(etcd: ServerProcess, other: BlockingClient, prefix: bytes) -> None:
    async def main() -> None:
        async with AsyncClient(etcd.endpoint, namespace=prefix) as client:
            session = await client.session(2)
            ticket = await claim(client.port, session)
            time.sleep(3 * session.ttl)  # noqa: ASYNC251 - a blocked loop is what this is about
            assert session.state is LeaseState.HELD
            assert other.get(ticket.key) is not None

    asyncio.run(main())


# --- a process that ends

CHILD = """
import sys
from coord.client.blocking import BlockingClient
client = BlockingClient(sys.argv[1], namespace=sys.argv[2])
session = client.session(30)
client.put("held", lease=session.lease)
watch = client.watch("held")
watch.__enter__()
print("ready", flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(server: ServerProcess, namespace: bytes) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, server.endpoint, namespace.decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def end(process: subprocess.Popen[str]) -> float:
    """Have the child's program run out; returns the seconds until its process ended."""
    assert process.stdin is not None
    began = time.monotonic()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(SECONDS) == 0
    return time.monotonic() - began


def test_a_process_that_forgets_to_close_takes_its_keys_along(
    etcd: ServerProcess, other: BlockingClient, prefix: bytes
) -> None:
    with child(etcd, prefix) as process:
        assert other.get("held") is not None
        end(process)
        assert other.get("held") is None


def test_a_dead_server_does_not_keep_a_process_from_ending(prefix: bytes) -> None:
    with make_server("etcd34") as server:
        server.start()
        with child(server, prefix) as process:
            server.pause()
            try:
                assert end(process) < 5
            finally:
                server.resume()


# --- a client that is dropped


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dropped_client_takes_its_thread_and_leases_along(
    etcd: ServerProcess, other: BlockingClient, prefix: bytes
) -> None:
    with no_threads_left():
        client = BlockingClient(etcd.endpoint, namespace=prefix)
        lease = client.session(30).lease
        watch = client.watch("w")
        assert lease in leases(other)
        del client, watch
        gc.collect()
        until(lambda: lease not in leases(other), "the lease is revoked")
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("coord-")], "the threads end")


def test_closing_leaves_no_lease(client: BlockingClient, other: BlockingClient) -> None:
    made = {client.session(ttl).lease for ttl in (5, 6, 7)}
    assert made <= leases(other)
    client.close()
    assert not made & leases(other)


def test_closing_does_not_wait_longer_than_the_server_takes(etcd: ServerProcess, prefix: bytes) -> None:
    async def main() -> float:
        client = AsyncClient(etcd.endpoint, namespace=prefix)
        async with client.watch("w"):
            await client.session(30)
        began = time.monotonic()
        await client.close()
        return time.monotonic() - began

    assert asyncio.run(main()) < 0.9


def test_ten_cancelled_waits_leave_nothing(etcd: ServerProcess, other: BlockingClient, prefix: bytes) -> None:
    async def wait_for_turn(port: Port) -> None:
        session = await port.session(30, deadline=None)
        ticket = await claim(port, session)
        try:
            watching = port.watch([WatchTarget(b"never")], from_revision=1)
            await watching.next(deadline=None, session=session)
        except BaseException:
            await port.withdraw(ticket)
            raise

    async def main() -> None:
        async with AsyncClient(etcd.endpoint, namespace=prefix) as client:
            before = leases(other)
            begin = (await client.put("probe")).revision
            tasks = [asyncio.create_task(wait_for_turn(client.port)) for _ in range(10)]
            async with client.watch("name/", prefix=True, from_revision=begin) as arrivals:
                for _ in tasks:
                    await arrivals.next(timeout=SECONDS)
            for task in tasks:
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended)
            assert not (await client.range("name/", prefix=True)).items
            assert len(leases(other) - before) <= 1
            assert len(client.port.keeper.tickets) == 0 or until(lambda: not client.port.keeper.tickets, "ledger")
        assert not leases(other) - before

    with no_threads_left():
        asyncio.run(main())


# --- Ctrl-C


@contextmanager
def interrupted(after: float = 0.3) -> Iterator[None]:
    """Ctrl-C arrives in the block and is raised out of it soon."""
    timer = threading.Timer(after, os.kill, [os.getpid(), signal.SIGINT])
    began = time.monotonic()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - began < after + 2
    finally:
        timer.cancel()
        timer.join()


def test_ctrl_c_interrupts_every_wait(etcd: ServerProcess, client: BlockingClient, other: BlockingClient) -> None:
    port = client.port
    session = client.session(60)
    with client.watch("w") as watch:
        with interrupted():
            watch.next()
        with interrupted():
            run_blocking(port.sleep(until=port.now() + SECONDS, session=session))
        other.put("w")
        assert watch.next(timeout=SECONDS).events
    etcd.pause()
    try:
        with interrupted():
            client.session(61, timeout=None)
        with interrupted():
            run_blocking(claim(port, session))
        with interrupted(), client.watch("v"):
            pass
    finally:
        etcd.resume()
    until(lambda: not other.range("name/", prefix=True).items, "nothing is left of the claim")


def test_a_withdrawal_that_is_interrupted_is_finished_by_the_keeper(
    etcd: ServerProcess, client: BlockingClient, other: BlockingClient
) -> None:
    port = client.port
    ticket = run_blocking(claim(port, client.session(60)))
    etcd.pause()
    try:
        with interrupted(0.2):
            run_blocking(port.withdraw(ticket))
    finally:
        etcd.resume()
    until(lambda: other.get(ticket.key) is None, "the key is gone")
    until(lambda: not port.keeper.tickets, "the ledger is empty")


# --- fork


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child; fail with what it failed with."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            work()
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said == b"", said.decode()


def test_a_forked_child_inherits_nothing_and_can_do_everything(client: BlockingClient, other: BlockingClient) -> None:
    session = client.session(30)
    client.put("held", lease=session.lease)
    watch = client.watch("w")
    watch.__enter__()

    def work() -> None:
        assert session.state is LeaseState.LOST
        assert session.cause == "forked"
        with pytest.raises(ForkedError):
            watch.next(timeout=SECONDS)
        fresh = client.session(30, timeout=SECONDS)
        assert fresh.lease != session.lease
        with client.watch("v") as own:
            client.put("v")
            assert own.next(timeout=SECONDS).events
        client.close()

    in_child(work)
    assert session.state is LeaseState.HELD
    assert other.get("held") is not None
    other.put("w")
    assert watch.next(timeout=SECONDS).events
    watch.close()


def test_a_timeout_says_what_was_wrong(etcd: ServerProcess, client: BlockingClient) -> None:
    client.put("k")
    etcd.pause()
    try:
        with pytest.raises(CallTimeout) as caught:
            client.session(5, timeout=2.5)
    finally:
        etcd.resume()
    assert caught.value.__cause__ is not None
