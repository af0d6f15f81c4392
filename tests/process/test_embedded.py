"""A server inside the process: it comes quickly, serves like any other, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from coord.errors import ForkedError, LocalServerError, UsageError
from coord.server.embedded import EmbeddedServer
from coord.wire import methods, rpc_pb2
from tests.servers import ROOT

pytestmark = pytest.mark.process


def call(url: str, method: methods.Method, request: Any) -> Any:
    target = url.replace("unix://", "unix:")
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = channel.unary_unary(method.path)(request.SerializeToString(), timeout=10)
    return method.response.FromString(answer)


def put(url: str, key: bytes, value: bytes) -> Any:
    return call(url, methods.KV_PUT, rpc_pb2.PutRequest(key=key, value=value))


def get(url: str, key: bytes) -> Any:
    return call(url, methods.KV_RANGE, rpc_pb2.RangeRequest(key=key))


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own, so that it can look for what was left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_left_after_a_stop(own_temp: Path) -> None:
    with EmbeddedServer() as server:  # grpc makes descriptors of its own once, for the whole process
        put(server.url, b"k", b"v")
    threads, open_before = threading.active_count(), descriptors()
    for _ in range(3):
        with EmbeddedServer() as server:
            put(server.url, b"k", b"v")
            assert get(server.url, b"k").kvs[0].value == b"v"
    assert threading.active_count() == threads
    assert descriptors() == open_before
    assert list(own_temp.iterdir()) == []


def test_a_throw_away_server_begins_anew_each_time() -> None:
    server = EmbeddedServer()
    first = put(server.start(), b"k", b"v").header
    server.stop()
    assert get(server.start(), b"k").count == 0
    server.stop()
    with EmbeddedServer() as other:
        assert put(other.url, b"k", b"v").header.cluster_id != first.cluster_id, "another store is another cluster"


def test_a_server_with_a_path_keeps_everything(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    first = put(server.start(), b"k", b"v").header
    server.stop()
    with EmbeddedServer(tmp_path / "data") as again:
        found = get(again.url, b"k")
    assert found.kvs[0].value == b"v"
    assert found.header.cluster_id == first.cluster_id


def test_two_servers_on_one_path_are_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data"):
        second = EmbeddedServer(tmp_path / "data")
        with pytest.raises(LocalServerError, match="could not start"):
            second.start()
        assert not second.running


def test_a_failed_start_leaves_nothing(tmp_path: Path, own_temp: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    threads = threading.active_count()
    with pytest.raises(LocalServerError):
        EmbeddedServer(tmp_path / "file").start()
    assert threading.active_count() == threads
    assert [path.name for path in own_temp.iterdir()] == ["file"]


def test_starting_and_stopping_twice_is_the_same_as_once() -> None:
    server = EmbeddedServer()
    assert server.start() == server.start()
    running = [server.running]
    server.stop()
    server.stop()
    assert [*running, server.running] == [True, False]
    with pytest.raises(LocalServerError, match="does not run"):
        _ = server.url


def test_several_servers_run_side_by_side() -> None:
    with EmbeddedServer() as one, EmbeddedServer() as two:
        put(one.url, b"k", b"1")
        assert get(two.url, b"k").count == 0


def test_wrong_settings_are_told_before_the_start() -> None:
    with pytest.raises(UsageError):
        EmbeddedServer(heartbeat_interval_ms=0)


def test_it_says_nothing_in_a_program_that_did_not_ask() -> None:
    script = (
        "from coord.server.embedded import EmbeddedServer\n"
        "with EmbeddedServer(): pass\n"
        "import logging\n"
        "assert not logging.getLogger().handlers\n"
        "assert all(type(one) is logging.NullHandler for one in logging.getLogger('coord').handlers)\n"
    )
    ended = run_python(script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_two_event_loops_in_one_process_are_silent() -> None:
    """Floor of grpcio: before 1.80 each loop that another one outran logged BlockingIOError, thousands under load."""
    script = (
        "import asyncio, coord\n"
        "async def calls(client, name):\n"
        "    for number in range(50):\n"
        "        await client.put(name, str(number))\n"
        "async def main():\n"
        "    async with coord.aio.connect('memory://') as client:\n"
        "        await asyncio.gather(*(calls(client, f'k{each}') for each in range(16)))\n"
        "asyncio.run(main())\n"
    )
    ended = run_python(script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_program_that_forgets_to_stop_it_ends_all_the_same(tmp_path: Path) -> None:
    script = "from coord.server.embedded import EmbeddedServer\ns = EmbeddedServer(); s.start()\nprint('end')"
    ended = run_python(script, TMPDIR=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_forgets_to_close_gives_its_locks_back_before_its_server_stops(tmp_path: Path) -> None:
    """The server went first, so the lock was held for its time to live at the next start."""
    program = (
        "import coord, sys\n"
        "client = coord.connect('embedded://' + sys.argv[1])\n"
        "lock = client.lock('l', ttl=600)\n"
        "assert lock.holder() is None\n"
        "held = lock.acquire()\n"
    )
    for _ in range(2):
        command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", program, str(tmp_path / "data")]
        done = subprocess.run(command, cwd=ROOT, timeout=30, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_is_told_that_the_server_stayed_behind() -> None:
    with EmbeddedServer() as server:
        child = os.fork()
        if not child:
            code = 1
            try:
                server.stop()  # must not touch the parent's socket
                server.start()
            except ForkedError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        put(server.url, b"k", b"v")


def run_python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
