"""`coord lock NAME -- cmd`, against the bundled server and real etcd, alone and beside etcdctl."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import coord as coord_client
from tests.process.actors import Actor, alive, coord
from tests.servers import ServerProcess
from tests.waiting import in_thread, until

pytestmark = pytest.mark.process

SAY = str(Path(__file__).with_name("say.py"))


def under_lock(server: ServerProcess, name: str, who: str, seconds: float, *options: str) -> Actor:
    words = ("--endpoints", server.endpoint, "lock", *options, name, "--", sys.executable, SAY, who, str(seconds))
    return coord(*words)


def in_line(server: ServerProcess, name: str) -> int:
    with coord_client.connect(server.endpoint) as client:
        return client.range(name + "/", prefix=True, count_only=True).count


@pytest.fixture
def etcdctl() -> str:
    found = shutil.which("etcdctl")
    if found is None:
        pytest.skip("etcdctl is missing: apt-get install etcd-client")
    return found


def test_two_take_turns(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "turns"
    with under_lock(server, name, "a", 1.0) as first, under_lock(server, name, "b", 1.0) as second:
        assert first.end() == 0, first.text
        assert second.end() == 0, second.text
        spans = sorted((actor.wait_for("in"), actor.wait_for("out")) for actor in (first, second))
        assert spans[0][1] <= spans[1][0] + 0.05


def test_a_killed_holder_takes_its_command_along_and_the_other_follows(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "killed"
    with under_lock(server, name, "a", 60, "--ttl", "3") as holder:
        holder.wait_for("in a")
        command = int(next(line for _, line in holder.lines if line.startswith("in a")).split()[2])
        with under_lock(server, name, "b", 0.1, "--ttl", "3") as waiter:
            time.sleep(0.5)
            assert waiter.said("in b") is None
            killed = time.monotonic()
            holder.kill()
            until(lambda: not alive(command), "the command dies too", 5)
            # The TTL, half a second in which the server looks, and what a loaded machine needs.
            assert waiter.wait_for("in b") - killed < 3 + 0.5 + 3
            assert waiter.end() == 0


def test_etcdctl_waits_for_coord_and_coord_for_etcdctl(server: ServerProcess, prefix: bytes, etcdctl: str) -> None:
    name = prefix.decode() + "both"
    environment = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": server.target}
    with under_lock(server, name, "ours", 1.5) as ours:
        ours.wait_for("in ours")
        with Actor(etcdctl, "lock", name, sys.executable, SAY, "theirs", "1.5", environment=environment) as theirs:
            theirs.wait_for("in theirs")
            assert ours.wait_for("out ours") <= theirs.wait_for("in theirs") + 0.05
            with under_lock(server, name, "again", 0.1) as again:
                again.wait_for("in again")
                assert theirs.wait_for("out theirs") <= again.wait_for("in again") + 0.05


def test_the_command_sees_key_and_fence_and_its_code_is_returned(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "env"
    words = (
        "--endpoints",
        server.endpoint,
        "lock",
        name,
        "--",
        "sh",
        "-c",
        "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV; exit 7",
    )
    with coord(*words) as actor:
        assert actor.end() == 7
        key, fence = actor.text.split()
        assert key.startswith(name + "/")
        assert int(fence) > 1


def test_not_won_in_time_is_code_75_and_a_missing_command_127(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "busy"
    with under_lock(server, name, "a", 30) as holder:
        holder.wait_for("in a")
        with under_lock(server, name, "b", 0, "--no-wait") as other:
            assert other.end() == 75, other.text
        with under_lock(server, name, "c", 0, "--timeout", "0.3") as other:
            assert other.end() == 75, other.text
    with coord("--endpoints", server.endpoint, "lock", name + "2", "--", "no-such-command-anywhere") as actor:
        assert actor.end() == 127


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_giving_up_leaves_nothing_behind(number: int, server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + f"given-up-{number}"
    with under_lock(server, name, "a", 60) as holder:
        holder.wait_for("in a")
        with under_lock(server, name, "b", 0) as waiter:
            until(lambda: in_line(server, name) == 2, "two stand in line")
            waiter.signal(number)
            assert waiter.end(10) in (130, 143)
        # If it had left its key, this one would wait for the dead one's lease.
        with under_lock(server, name, "c", 0) as third:
            until(lambda: in_line(server, name) >= 2, "it stands in line")
            holder.signal(signal.SIGTERM)
            holder.end(10)
            ended = time.monotonic()
            assert third.wait_for("in c") - ended < 5


def test_a_signal_goes_to_the_command_and_frees_the_lock(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "passed-on"
    with under_lock(server, name, "a", 60) as holder:
        holder.wait_for("in a")
        holder.signal(signal.SIGTERM)
        assert holder.end() == 128 + signal.SIGTERM
    with under_lock(server, name, "b", 0, "--timeout", "3") as other:
        assert other.end() == 0, other.text


def test_a_frozen_holder_finds_its_command_ended(fresh_server: Callable[..., ServerProcess], prefix: bytes) -> None:
    server = fresh_server()
    name = prefix.decode() + "frozen"
    with under_lock(server, name, "a", 60, "--ttl", "2") as holder:
        holder.wait_for("in a")
        holder.signal(signal.SIGSTOP)
        with under_lock(server, name, "b", 0.1, "--ttl", "2") as other:
            other.wait_for("in b")
        holder.signal(signal.SIGCONT)
        assert holder.end() == 76, holder.text
        assert "lost" in holder.text


def test_without_a_server_the_command_is_ended_before_the_lock_passes_on(
    fresh_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = fresh_server()
    mark = tmp_path / "mark"
    words = (
        "--endpoints",
        server.endpoint,
        "lock",
        "--ttl",
        "4",
        "gone",
        "--",
        sys.executable,
        SAY,
        "a",
        "60",
        str(mark),
    )
    with coord(*words) as holder:
        holder.wait_for("in a")
        server.kill()
        killed = time.monotonic()
        assert holder.end(20) == 76, holder.text
        assert mark.exists(), "the command was not asked to end first"
        # Its lease lives for four seconds after the last renewal, which was before the kill.
        assert time.monotonic() - killed < 4 + 2


def test_help_and_bad_words() -> None:
    with coord("lock", "--help") as actor:
        assert actor.end() == 0
        assert "ETCD_LOCK_KEY" in actor.text
    with coord("lock") as actor:
        assert actor.end() == 2
    with coord("no-such-command") as actor:
        assert actor.end() == 2
    assert os.environ.get("ETCD_LOCK_KEY") is None


def test_coord_locks_shows_who_holds_and_a_deadlock(server: ServerProcess, prefix: bytes) -> None:
    one, two = (prefix.decode() + name for name in ("shop/a", "shop/b"))
    with coord_client.connect(server.endpoint) as first, coord_client.connect(server.endpoint) as second:
        held = [first.lock(one).acquire(), second.rlock(two, owner="job-7").acquire()]
        with under_lock(server, one, "c", 0.0) as waits:
            until(lambda: in_line(server, one) == 2, "it stands in the queue")
            with coord("--endpoints", server.endpoint, "locks", prefix.decode()) as listed:
                assert listed.end() == 0, listed.text
                assert f"{one}  lock  holds" in listed.text
                assert f"{one}  lock  waits" in listed.text
                assert f"{two}  lock  holds  job-7 {os.getpid()} on " in listed.text
                assert "deadlock" not in listed.text
            with coord("--endpoints", server.endpoint, "-w", "json", "locks", prefix.decode()) as listed:
                assert listed.end() == 0, listed.text
                told = json.loads(listed.lines[0][1])
                assert [each["name"] for each in told["locks"]] == [one, two]
                assert [each["holds"] for each in told["locks"][0]["contenders"]] == [True, False]
                assert told["cycles"] == []
            held[0].release()
            assert waits.end() == 0, waits.text
        held[1].release()


def test_coord_locks_tells_a_deadlock(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "stock"
    with coord_client.connect(server.endpoint) as client:
        held = client.lock(name).acquire()

        def wait_for_myself() -> None:
            with pytest.raises(coord_client.LockTimeout):
                client.rlock(name, owner=threading.main_thread().name, timeout=5).acquire()

        waiting = in_thread(wait_for_myself)
        until(lambda: in_line(server, name) == 2, "it stands in the queue")
        with coord("--endpoints", server.endpoint, "locks", name) as listed:
            assert listed.end() == 0, listed.text
            assert f"deadlock: MainThread {os.getpid()} on " in listed.text
        waiting()
        held.release()
