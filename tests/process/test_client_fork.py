"""Clients in forked children: each case forks a real process in the middle of its use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_server
from tests.servers import ROOT, ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PRELUDE = """
import asyncio, faulthandler, os, signal, sys, threading, traceback
from coord.client.aio import AsyncClient
from coord.client.blocking import BlockingClient
from coord.errors import ForkedError, ClosedError

endpoint = sys.argv[1]
# A process that hangs shows where, and ends.
faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
signal.alarm(40)

def forked(work):
    "Fork; the child does the work and says by its exit status whether all was well."
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(20)
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child

def check(*children):
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.fixture(scope="module")
def forked_server() -> Iterator[ServerProcess]:
    with make_server("etcd34") as server:
        yield server.start()


def run(server: ServerProcess, program: str, *, seconds: float = 60) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + program, server.endpoint],
        cwd=ROOT,
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_blocking_client_connects_anew(forked_server: ServerProcess) -> None:
    """In several children at once, while the parent goes on with the connection it has."""
    run(
        forked_server,
        """
with BlockingClient(endpoint) as client:
    client.put("a", "parent")

    def work():
        for number in range(20):
            client.put(f"child/{os.getpid()}/{number}", "x")
            assert client.get("a").text == "parent"
        client.close()

    for round in range(4):
        children = [forked(work) for _ in range(3)]
        for _ in range(20):
            assert client.get("a").text == "parent"
        check(*children)
    assert client.range("child/", prefix=True, count_only=True).count == 240
""",
    )


def test_fork_while_other_threads_call(forked_server: ServerProcess) -> None:
    """The child inherits locks that threads held which it does not have."""
    run(
        forked_server,
        """
with BlockingClient(endpoint) as client:
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            client.put("busy", "x")

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        check(forked(lambda: client.put("child", "x")))
    stop.set()
    for thread in threads:
        thread.join()
""",
    )


def test_closing_in_the_child_leaves_the_parent_alone(forked_server: ServerProcess) -> None:
    run(
        forked_server,
        """
with BlockingClient(endpoint) as client:
    client.put("a", "1")

    def work():
        client.close()
        try:
            client.get("a")
        except ClosedError:
            return
        raise AssertionError("the child's client was not closed")

    check(forked(work))
    assert client.get("a").text == "1"
""",
    )


def test_child_of_a_child(forked_server: ServerProcess) -> None:
    run(
        forked_server,
        """
client = BlockingClient(endpoint)
client.put("a", "1")

def inner():
    assert client.get("a").text == "1"

def outer():
    client.get("a")
    check(forked(inner))
    assert client.get("a").text == "1"

check(forked(outer))
client.close()
""",
    )


def test_asyncio_client_refuses_in_the_child(forked_server: ServerProcess) -> None:
    """grpc.aio crashes or hangs there; the blocking client works."""
    run(
        forked_server,
        """
async def main():
    async with AsyncClient(endpoint) as client:
        await client.put("a", "1")

        def work():
            async def use(c):
                await c.get("a")

            for c in (client, AsyncClient(endpoint)):
                try:
                    asyncio.Runner().run(use(c))
                except ForkedError:
                    continue
                raise AssertionError("grpc.aio was used in a forked child")
            with BlockingClient(endpoint) as blocking:
                assert blocking.get("a").text == "1"

        # As os.fork() inside a running loop does: the child's thread still counts as running it.
        def clean():
            asyncio._set_running_loop(None)
            work()

        check(forked(clean))
        assert (await client.get("a")).text == "1"

asyncio.run(main())
""",
    )


def test_asyncio_client_works_after_its_parents_loop_ended(forked_server: ServerProcess) -> None:
    run(
        forked_server,
        """
async def use():
    async with AsyncClient(endpoint) as client:
        await client.put("a", "1")
        assert (await client.get("a")).text == "1"

asyncio.run(use())
check(forked(lambda: asyncio.run(use())))
""",
    )


def test_multiprocessing(forked_server: ServerProcess) -> None:
    """A client made before a pool of workers serves all of them."""
    run(
        forked_server,
        """
import multiprocessing

client = BlockingClient(endpoint)
client.put("a", "1")

def work(number):
    client.put(f"pool/{number}", "x")
    return client.get("a").text

with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(work, range(12)) == ["1"] * 12
assert client.range("pool/", prefix=True).count == 12
client.close()
""",
    )


def test_a_child_that_leaves_the_block_does_not_give_the_parents_lock_back(forked_server: ServerProcess) -> None:
    """``sys.exit`` in a child unwinds the blocks that its parent is in: they gave the parent's lock away."""
    run(
        forked_server,
        """
import coord

with coord.connect(endpoint) as client, client.lock("mine") as held:
    def leave(how):
        try:
            how()
        except coord.LockLost as lost:
            assert lost.cause == "forked", lost.cause

    for how in (held.release, lambda: held.__exit__(None, None, None), held.check):
        check(forked(lambda: leave(how)))
    assert client.lock("mine").holder().key == held.key
    held.put("k", "v")

    child = os.fork()
    if child == 0:
        sys.exit(0)
    check(child)
    assert client.lock("mine").holder().key == held.key
    held.put("k", "v")
""",
    )


def test_what_the_parent_follows_is_not_followed_in_the_child(forked_server: ServerProcess) -> None:
    run(
        forked_server,
        """
import coord

with coord.connect(endpoint) as client, client.register("forked", "here"), client.discover("forked") as view:
    def look():
        for use in (lambda: view.instances, lambda: next(view.changes())):
            try:
                use()
            except ForkedError:
                continue
            raise AssertionError("the child looked at what nobody follows")
        view.close()
        with view:
            assert len(view.instances) == 1

    check(forked(look))
    assert len(view.instances) == 1
""",
    )


@pytest.mark.parametrize("url", ["memory://", "embedded://{}"])
def test_a_server_in_this_process_stays_in_the_parent(forked_server: ServerProcess, url: str, tmp_path: Path) -> None:
    """Its socket can be reached from the child, but every answer to the child would be the end of the parent's."""
    run(
        forked_server,
        f"url = {url.format(tmp_path)!r}"
        """
import coord

with coord.connect(url) as client:
    client.put("a", "1")
    lock = client.lock("l")
    uses = {
        "get": lambda: client.get("a"),
        "lock": lambda: lock.acquire(timeout=5),
        "session": lambda: client.session(5, timeout=5),
        "watch": lambda: client.watch("a").__enter__(),
        "register": lambda: client.register("s", "here", timeout=5),
        "discover": lambda: client.discover("s").__enter__(),
        "instances": lambda: client.instances("s"),
        "background": lambda: client.background(print, name="x"),
        "snapshot": lambda: client.maintenance.snapshot("never"),
    }
    for name, use in uses.items():
        def refused():
            try:
                use()
            except ForkedError:
                client.close()
                return
            raise AssertionError(f"{name} used the parent's server")

        check(forked(refused))
    assert client.get("a").text == "1"
    assert client.instances() == ()
""",
    )
