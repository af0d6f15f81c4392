"""What calls do when servers are away, frozen, restarted or replaced: against every server, with both clients."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coord.client.aio import AsyncClient
from coord.client.connection import retry, urls
from coord.clock import now
from coord.errors import (
    CallTimeout,
    ClosedError,
    CoordError,
    HistoryLost,
    OutcomeUnknown,
    Unavailable,
    UsageError,
)
from coord.model import KeyValue, LeaseState
from tests.conftest import make_server
from tests.faces import KINDS, Face, face
from tests.servers import Port, ServerProcess

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def own_server(server_kind: str) -> Iterator[ServerProcess]:
    """A server that these tests stop, freeze and start again; each leaves it running."""
    with make_server(server_kind) as server:
        yield server.start()


@pytest.fixture
def dead_port() -> Iterator[str]:
    port = Port()
    yield f"127.0.0.1:{port.number}"
    port.close()


@pytest.fixture
def mute_port() -> Iterator[str]:
    """Accepts connections and never says anything, like the kernel of a machine whose server is frozen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """SIGSTOP; the signal reaches the threads one after the other, so wait until all stand still."""
    server.pause()
    try:
        tasks = Path(f"/proc/{server.pid}/task")
        while any((task / "stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
            pass
        yield
    finally:
        server.resume()


def background(work: Callable[[], object]) -> Callable[[], None]:
    """Run in a thread; returns what waits for it."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread.join


def key(prefix: bytes) -> bytes:
    return prefix + b"k"


def test_read_rides_through_a_restart(own_server: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, own_server.endpoint, timeout=30) as f:
        f.do(f.client.put(key(prefix), "kept"))
        own_server.kill()
        joined = background(own_server.start)
        found = f.do(f.client.get(key(prefix)))
        joined()
        assert found is not None
        assert found.text == "kept"


def test_write_rides_through_a_restart_that_it_did_not_meet(
    own_server: ServerProcess, kind: str, prefix: bytes
) -> None:
    with face(kind, own_server.endpoint, timeout=30) as f:
        f.do(f.client.put(key(prefix), "1"))
        own_server.kill()
        joined = background(own_server.start)
        f.do(f.client.put(key(prefix), "2"))
        joined()
        assert f.do(f.client.get(key(prefix))).version == 2


def test_writes_under_restarts_are_never_doubled(own_server: ServerProcess, kind: str, prefix: bytes) -> None:
    """Each put raises the version by one: acknowledged ones surely, unknown ones perhaps, failed ones never."""
    with face(kind, own_server.endpoint, timeout=30) as f:
        done = unknown = 0
        restarting = threading.Thread(target=own_server.restart)
        restarting.start()
        while restarting.is_alive() or not done:
            try:
                f.do(f.client.put(key(prefix), "x"))
                done += 1
            except OutcomeUnknown:
                unknown += 1
        restarting.join()
        assert done <= f.do(f.client.get(key(prefix))).version <= done + unknown
        assert unknown <= 1


def test_nobody_there(dead_port: str, kind: str) -> None:
    with face(kind, dead_port) as f:
        began = now()
        with pytest.raises(Unavailable) as caught:
            f.do(f.client.put("a", "b", timeout=1))
        assert now() - began < 3
        assert caught.value.attempts > 1
        assert caught.value.endpoint == dead_port
        assert caught.value.outcome_known


def test_timeout_zero_makes_one_attempt(dead_port: str, kind: str) -> None:
    with face(kind, dead_port) as f:
        with pytest.raises(Unavailable) as caught:
            f.do(f.client.put("a", "b", timeout=0))
        assert caught.value.attempts == 1


def test_failover_from_a_dead_endpoint(own_server: ServerProcess, dead_port: str, kind: str, prefix: bytes) -> None:
    """Whichever of the two is tried first."""
    for _ in range(6):
        with face(kind, f"{dead_port},{own_server.target}", timeout=20) as f:
            f.do(f.client.put(key(prefix), "x"))
            assert f.do(f.client.get(key(prefix))) is not None


def test_failover_from_a_mute_endpoint(own_server: ServerProcess, mute_port: str, kind: str, prefix: bytes) -> None:
    for _ in range(4):
        with face(kind, f"{mute_port},{own_server.target}", timeout=6) as f:
            f.do(f.client.put(key(prefix), "x"))
            assert f.do(f.client.get(key(prefix))) is not None


def test_frozen_server_holds_no_call_beyond_its_time(own_server: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, own_server.endpoint) as f:
        f.do(f.client.put(key(prefix), "x"))
        began = now()
        with frozen(own_server):
            with pytest.raises(CallTimeout):
                f.do(f.client.get(key(prefix), timeout=1))
            # Found silent by the read, the connection is tried before the write is sent: so nothing was.
            with pytest.raises((CallTimeout, Unavailable)):
                f.do(f.client.put(key(prefix), "y", timeout=1))
        assert now() - began < 6
        assert f.do(f.client.get(key(prefix), timeout=20)).text == "x"


def test_write_into_a_frozen_server_is_unknown(own_server: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, own_server.endpoint) as f:
        f.do(f.client.put(key(prefix), "x"))
        with frozen(own_server), pytest.raises(OutcomeUnknown) as caught:
            f.do(f.client.put(key(prefix), "y", timeout=1))
        assert not caught.value.outcome_known
        assert caught.value.endpoint == own_server.target
        assert caught.value.__cause__ is not None


def test_frozen_for_a_while_within_the_time(own_server: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, own_server.endpoint, timeout=30) as f:
        f.do(f.client.put(key(prefix), "x"))
        with frozen(own_server):
            timer = threading.Timer(1.0, own_server.resume)
            timer.start()
            assert f.do(f.client.get(key(prefix))).text == "x"
            timer.join()


def test_read_leaves_a_frozen_server_for_another(own_server: ServerProcess, kind: str, server: ServerProcess) -> None:
    """Two servers that are no cluster: that the second one was asked shows in a lost history."""
    with face(kind, own_server.endpoint) as f:
        f.do(f.client.get("a"))
        f.client._core.replace_endpoints([*f.client._core.endpoints, *urls.parse(server.endpoint).endpoints])
        with frozen(own_server), pytest.raises(HistoryLost):
            f.do(f.client.get("a", timeout=4))


def test_replaced_cluster_is_noticed_once(server_kind: str, kind: str) -> None:
    with make_server(server_kind) as replaced, face(kind, replaced.start().endpoint, timeout=20) as f:
        for _ in range(3):
            f.do(f.client.put("a", "x"))
        replaced.kill()
        shutil.rmtree(replaced.data_dir)
        replaced.start()
        with pytest.raises(HistoryLost) as caught:
            f.do(f.client.get("a"))
        assert caught.value.seen_revision == 4
        assert f.do(f.client.get("a")) is None


def test_what_is_built_on_the_new_history_stays(server_kind: str, kind: str) -> None:
    """The watch stream remembered the old cluster, told of it once more, and took the new leases along."""

    async def opened() -> Any:
        return await f.client.watch("a").__aenter__()

    def watched() -> Any:
        return f.client.watch("a").__enter__() if kind == "blocking" else f.do(opened())

    with make_server(server_kind) as replaced, face(kind, replaced.start().endpoint, timeout=20) as f:
        with closing(watched()._reader):
            for _ in range(5):
                f.do(f.client.put("a", "x"))
        replaced.kill()
        shutil.rmtree(replaced.data_dir)
        replaced.start()
        with pytest.raises(HistoryLost):
            f.do(f.client.get("a"))
        session = f.do(f.client.session(30))
        watch = watched()
        with closing(watch._reader):
            f.do(f.client.put("a", "y"))
            assert f.do(watch.next()).events
            assert session.state is LeaseState.HELD


def test_close_ends_calls_under_way(own_server: ServerProcess, prefix: bytes) -> None:
    with face("blocking", own_server.endpoint, timeout=None) as f:
        f.do(f.client.put(key(prefix), "x"))
        sent: list[bool] = []
        ended: list[CoordError] = []

        def read() -> None:
            try:
                sent.append(True)
                f.client.get(key(prefix))
            except CoordError as error:
                ended.append(error)

        with frozen(own_server):
            joined = background(read)
            while not sent:
                pass
            f.client.close()
            joined()
        assert [type(error) for error in ended] == [ClosedError]


def test_close_ends_waiting_for_a_dead_server(dead_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "DELAY_FIRST", 1000.0)
    monkeypatch.setattr(retry, "DELAY_LIMIT", 1000.0)
    with face("blocking", dead_port, timeout=None) as f:
        ended: list[CoordError] = []

        def read() -> None:
            try:
                f.client.get("a")
            except CoordError as error:
                ended.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        while f.client._core._endpoints._states[f.client._core.endpoints[0]].failures == 0:
            pass
        f.client.close()
        thread.join(20)
        assert [type(error) for error in ended] == [ClosedError]


def test_close_ends_tasks_that_wait_for_a_dead_server(dead_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "DELAY_FIRST", 1000.0)

    async def program() -> None:
        client = AsyncClient(dead_port, timeout=None)
        task = asyncio.create_task(client.get("a"))
        while client._core._endpoints._states[client._core.endpoints[0]].failures == 0:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ClosedError):
            await asyncio.wait_for(task, 20)

    asyncio.run(program())


def test_cancelled_task_of_a_closing_client_is_cancelled(own_server: ServerProcess) -> None:
    async def program() -> None:
        async with AsyncClient(own_server.endpoint, timeout=None) as client:
            await client.get("a")
            with frozen(own_server):
                task = asyncio.create_task(client.get("a"))
                for _ in range(10):
                    await asyncio.sleep(0)
                client._core.closed = True
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            client._core.closed = False

    asyncio.run(program())


def test_after_close(own_server: ServerProcess, kind: str) -> None:
    with face(kind, own_server.endpoint) as f:
        f.do(f.client.get("a"))
        f.do(f.client.close())
        f.do(f.client.close())
        with pytest.raises(ClosedError):
            f.do(f.client.get("a"))
        assert "closed" in repr(f.client)
        other: Face = f
        assert other.client.closed


def test_close_ends_tasks_under_way(own_server: ServerProcess) -> None:
    """Closing a channel of grpc.aio cancels the tasks that wait for it; they must not look cancelled."""

    async def program() -> list[BaseException | KeyValue | None]:
        client = AsyncClient(own_server.endpoint, timeout=None)
        await client.get("a")
        with frozen(own_server):
            tasks = [asyncio.create_task(client.get("a")) for _ in range(3)]
            for _ in range(10):
                await asyncio.sleep(0)  # until all of them wait for their answer
            tasks[0].cancel()
            await client.close()
            return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(program())
    assert [type(each) for each in ended] == [asyncio.CancelledError, ClosedError, ClosedError]


def test_second_loop(own_server: ServerProcess) -> None:
    client = AsyncClient(own_server.endpoint)

    async def use() -> None:
        await client.get("a")

    async def close() -> None:
        await client.close()

    with asyncio.Runner() as first:
        first.run(use())
        with pytest.raises(UsageError, match="another event loop"):
            asyncio.run(use())
        first.run(close())
