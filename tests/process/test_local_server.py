"""One local server per user: started by whoever comes first, shared by all, gone when nobody needs it."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import coord
from coord.errors import CallTimeout, LocalServerError, NotConfigured
from coord.local import LocalServer
from tests.process.actors import Actor, alive, python
from tests.waiting import until

pytestmark = pytest.mark.process

PUT = """
import coord, sys
with coord.connect(timeout=30) as client:
    client.put(sys.argv[1], "x")
    print("put", sys.argv[1])
"""

HOLD = """
import coord, time
with coord.connect() as client, client.lock("held", ttl=5) as held:
    print("fence", held.fence, flush=True)
    while True:
        held.check()
        time.sleep(0.05)
        print("left", round(held.remaining(), 1), flush=True)
"""


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    monkeypatch.setenv("COORD_LOCAL", "1")
    monkeypatch.setenv("COORD_LOCAL_DIR", str(tmp_path / "local"))
    for name in ("COORD_ENDPOINTS", "ETCDCTL_ENDPOINTS", "COORD_LOCAL_IDLE"):
        monkeypatch.delenv(name, raising=False)
    server = LocalServer()
    yield server
    server.stop()


def pid_of(server: LocalServer) -> int:
    return int(json.loads((server.directory / "server.json").read_text())["pid"])


@pytest.mark.filterwarnings("ignore::coord.errors.LocalServerNotice")
def test_twenty_processes_started_at_once_share_one_server(local: LocalServer) -> None:
    actors = [python(PUT, f"key-{number:02}") for number in range(20)]
    for actor in actors:
        with actor:
            assert actor.end(120) == 0, actor.text
    with coord.connect() as client:
        assert client.range("key-", prefix=True).count == 20
        # Every put is in one history: a second server would have had a history of its own.
        assert client.get("key-00") is not None
    assert len(servers_of(local)) == 1


def servers_of(server: LocalServer) -> list[int]:
    """Process ids of all servers of the directory, by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"coord.server.local" in words and os.fsencode(server.directory) in words and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


@pytest.mark.filterwarnings("ignore::coord.errors.LocalServerNotice")
def test_starts_race_with_idle_stops_and_nothing_is_lost(local: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_LOCAL_IDLE", "0.2")
    rng = random.Random(7)
    lives = set()
    for number in range(24):
        # Mostly just when the server is about to go, or going.
        time.sleep(rng.uniform(0.1, 0.5))
        with coord.connect(timeout=30) as client:
            client.put(f"key-{number:02}", "x")
            lives.add(pid_of(local))
            assert client.range("key-", prefix=True).count == number + 1
        assert len(servers_of(local)) <= 1
    assert len(lives) > 3, "the server never stopped for idleness, so the race was not run"


@pytest.mark.filterwarnings("ignore::coord.errors.LocalServerNotice")
def test_an_idle_server_goes_and_a_lease_keeps_it(local: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_LOCAL_IDLE", "0.3")
    with coord.connect() as client:
        client.lease.grant(3)
        pid = pid_of(local)
    time.sleep(1.5)
    assert alive(pid), "it went although a lease was alive"
    until(lambda: not alive(pid), "the server is gone")
    assert not local.socket_path.exists()


def test_a_killed_server_is_started_again_under_a_live_lock(local: LocalServer) -> None:
    with python(HOLD) as holder:
        holder.wait_for("fence")
        first = pid_of(local)
        os.kill(first, signal.SIGKILL)
        until(lambda: local.status().running and pid_of(local) != first, "another server runs")
        heard = len(holder.lines)
        # Six seconds: longer than the TTL without a renewal.
        until(lambda: len(holder.lines) > heard + 120, "the holder goes on")
        assert holder.running, holder.text
        with python(HOLD) as waiter:
            time.sleep(1.0)
            assert waiter.said("fence") is None, "two holders at once"
            holder.signal(signal.SIGKILL)
            waiter.wait_for("fence", 15)


@pytest.mark.filterwarnings("ignore::coord.errors.LocalServerNotice")
def test_calls_in_a_hurry_let_it_come_up(local: LocalServer) -> None:
    """Each stopped the server that the one before had started, so it never came up."""
    hurried = 0

    def put() -> bool:
        nonlocal hurried
        try:
            with coord.connect(timeout=0.05) as client:
                client.put("a", "x")
        except CallTimeout:
            hurried += 1
            return False
        return True

    until(put, "the local server answers")
    assert hurried, "a server starts in less than the time of a call"
    assert servers_of(local) == [pid_of(local)]


@pytest.mark.filterwarnings("ignore::coord.errors.LocalServerNotice")
def test_stop_ends_it_and_the_data_stay(local: LocalServer) -> None:
    with coord.connect() as client:
        client.put("kept", "yes")
    pid = pid_of(local)
    assert local.stop() is True
    assert not alive(pid)
    assert local.stop() is False
    with coord.connect() as client:
        found = client.get("kept")
        assert found is not None
        assert found.text == "yes"


def test_its_use_is_told_once(local: LocalServer) -> None:
    code = "import coord\nfor _ in range(2):\n    with coord.connect() as client: client.get('a')\n"
    with Actor(sys.executable, "-c", code) as actor:
        assert actor.end() == 0, actor.text
        assert actor.text.count("LocalServerNotice") == 1


@pytest.mark.parametrize("place", ["COORD_LOCAL", "KUBERNETES_SERVICE_HOST", "container"])
def test_it_is_not_used_where_nobody_would_share_it(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COORD_LOCAL", "COORD_ENDPOINTS", "ETCDCTL_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(place, "0" if place == "COORD_LOCAL" else "somewhere")
    with pytest.raises(NotConfigured, match="COORD_ENDPOINTS"):
        coord.connect()


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(LocalServerError, match="chmod 700"):
        LocalServer(open_to_all).ensure()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match="COORD_LOCAL_DIR"):
        LocalServer(tmp_path / ("x" * 100))


def test_a_server_that_cannot_start_shows_its_log(local: LocalServer) -> None:
    local.directory.mkdir(mode=0o700)
    (local.directory / "data").write_text("not a directory")
    with pytest.raises(LocalServerError, match="log"):
        local.ensure(20)
