"""The per-user local server: one durable server shared by all of a user's processes, started by whoever needs it first.

Everything lives in one directory (0700, owned by the user)::

    start.lock    flock: held while somebody starts the server, and by the server while it stops for idleness
    data.lock     flock: held by the server for life
    server.sock   where it listens
    server.json   process id, version, start time; for people and `coord local status`
    server.log    its log
    data/         its data directory

A starter connects; if refused it takes start.lock, connects again, and only then spawns the server (new session, log
file) and waits until it serves. An idle server takes start.lock without waiting, looks again whether anybody came,
unlinks the socket and goes; a starter that arrives meanwhile waits for start.lock and finds the way free. So there is
never more than one server, and no moment in which a starter could find a socket of a server that will not answer.

Knows where the server's module is, and imports nothing of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coord.errors import CallTimeout, CoordError, LocalServerError, LocalServerNotice, NotConfigured

START_TIMEOUT = 60.0
"""Seconds a starter waits for the server to serve."""

SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel's own limit is 107, and a rename beside the socket needs a little room."""

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """What is known of the local server.

    Attributes:
        directory: where everything lives.
        running: somebody accepts connections on the socket.
        pid: process id it wrote down, 0 if none.
        version: coord version it runs.
        started: wall-clock start time in seconds since the epoch, 0 if unknown.
    """

    directory: Path
    running: bool
    pid: int = 0
    version: str = ""
    started: float = 0.0


def default_directory() -> Path:
    """`COORD_LOCAL_DIR`, else ``coord`` below the XDG state directory."""
    chosen = os.environ.get("COORD_LOCAL_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "coord"


def check_allowed() -> None:
    """Decide whether a missing endpoint may mean the local server.

    Raises:
        NotConfigured: `COORD_LOCAL=0`, or this is a container or Kubernetes without `COORD_LOCAL=1`.
    """
    wish = os.environ.get("COORD_LOCAL", "")
    if wish == "1":
        return
    if wish == "0":
        raise NotConfigured(
            "no endpoint is configured and COORD_LOCAL=0 forbids the local server; set COORD_ENDPOINTS "
            "(for example http://127.0.0.1:2379) or pass a URL to coord.connect()"
        )
    place = _container()
    if place:
        raise NotConfigured(
            f"no endpoint is configured, and inside {place} a local server would be seen by this container alone; set "
            "COORD_ENDPOINTS to your cluster, or COORD_LOCAL=1 if a private local server is what you want"
        )


def _container() -> str:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "Kubernetes"
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return "a container"
    # systemd-nspawn and podman name it in lower case.
    return "a container" if os.environ.get("container") else ""  # noqa: SIM112  # the variable's real name


_noticed = False


def notice(directory: Path) -> None:
    """Say once per process, through `warnings`, that the local server is used."""
    global _noticed
    if not _noticed:
        _noticed = True
        warnings.warn(
            f"no endpoint is configured: using the local server in {directory} "
            "(set COORD_ENDPOINTS for a cluster, COORD_LOCAL=0 to forbid this)",
            LocalServerNotice,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """For `warnings`: the line that is shown shall be one of the user's, however deep in coord this is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "coord":
        level, frame = level + 1, frame.f_back
    return level


class LocalServer:
    """The starter's side of the protocol; cheap to make, holds nothing open."""

    def __init__(self, directory: Path | str | None = None) -> None:
        self.directory = Path(directory).expanduser().absolute() if directory else default_directory()
        self.socket_path = self.directory / "server.sock"
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_LIMIT:
            raise LocalServerError(
                f"the path of the local server's socket is longer than {SOCKET_PATH_LIMIT} bytes: {self.socket_path}; "
                "set COORD_LOCAL_DIR to a shorter directory"
            )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self.socket_path}"

    def ensure(self, timeout: float = START_TIMEOUT) -> None:
        """Return when the server serves, starting it if nobody has.

        Raises:
            CallTimeout: it was not up in `timeout` seconds, which are less than a start may take; it goes on starting.
            LocalServerError: the directory is not ours, or the server did not come up; the message ends with its log.
        """
        if self._connects():
            return
        self._prepare()
        deadline = time.monotonic() + timeout
        late = LocalServerError if timeout >= START_TIMEOUT else CallTimeout
        with self._start_lock(deadline, late):
            self._start(deadline, late)

    def status(self) -> LocalStatus:
        """Look without starting anything."""
        facts = self._facts()
        return LocalStatus(
            self.directory,
            self._connects(),
            int(facts.get("pid", 0)),
            str(facts.get("version", "")),
            float(facts.get("started", 0.0)),
        )

    def stop(self, timeout: float = 10.0) -> bool:
        """Ask the server to stop and wait until it is gone; False if none was running.

        Raises:
            LocalServerError: it did not stop in time, or its process id is unknown.
        """
        if not self.directory.exists():
            return False
        deadline = time.monotonic() + timeout
        with self._start_lock(deadline):
            if not self._data_locked():
                return False
            pid = int(self._facts().get("pid", 0))
            if pid <= 1:
                raise LocalServerError(f"the local server runs, but {self.directory}/server.json does not name it")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            while self._data_locked():
                if time.monotonic() > deadline:
                    raise LocalServerError(f"the local server (process {pid}) did not stop within {timeout:g} s")
                time.sleep(_POLL)
            return True

    def _connects(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.socket_path))
            except TimeoutError:
                # A full backlog means somebody listens; whether it answers is for the caller's deadline to find out.
                return True
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
                    return False
                if error.errno == errno.EAGAIN:
                    return True
                raise LocalServerError(f"cannot reach the local server at {self.socket_path}: {error}") from error
            return True

    def _prepare(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.directory.stat()
        except OSError as error:
            raise LocalServerError(f"cannot make the local server's directory {self.directory}: {error}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LocalServerError(f"{self.directory} is not a directory of this user; set COORD_LOCAL_DIR to another")
        if found.st_mode & 0o077:
            raise LocalServerError(f"{self.directory} can be entered by other users; run: chmod 700 {self.directory}")

    @contextlib.contextmanager
    def _start_lock(self, deadline: float, late: type[CoordError] = LocalServerError) -> Iterator[None]:
        handle = os.open(self.directory / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_flock(handle):
                if time.monotonic() > deadline:
                    raise late(
                        f"another process has been starting the local server for too long ({self.directory}/start.lock)"
                    )
                time.sleep(_POLL)
            yield
        finally:
            os.close(handle)

    def _data_locked(self) -> bool:
        try:
            handle = os.open(self.directory / "data.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_flock(handle)
        finally:
            os.close(handle)

    def _start(self, deadline: float, late: type[CoordError]) -> None:
        """Return when a server serves.

        One that was started before and has not come up yet is waited for. Nobody in a hurry may stop it: calls with
        short timeouts would each stop the one that the call before had started, for ever.
        """
        log = self.directory / "server.log"
        child = _children.get(self.directory)
        if child is not None and child.poll() is not None:
            child = None  # it served, and went
        while not self._connects():
            if child is not None and child.poll() is not None:
                if not self._data_locked():
                    raise LocalServerError(
                        f"the local server ended with status {child.returncode}; its log {log} says:\n{_tail(log)}"
                    )
                child = None  # another one came first
            if child is None and not self._data_locked():
                child = self._spawn(log)
            if time.monotonic() > deadline:
                if child is not None and late is LocalServerError:
                    child.kill()
                    child.wait()
                raise late(f"the local server did not serve in time; its log {log} says:\n{_tail(log)}")
            time.sleep(_POLL)

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        # PYTHONPATH keeps a bare checkout importable in the child whose working directory is "/".
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with open(log, "ab") as sink:
            child = subprocess.Popen(
                [sys.executable, "-m", "coord.server.local", str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                close_fds=True,
                cwd="/",
                env=environment,
            )
        _children[self.directory] = child
        return child

    def _facts(self) -> dict[str, Any]:
        try:
            found = json.loads((self.directory / "server.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


# The server that this process started last in a directory, which may not have come up yet. Kept also because a Popen
# that is collected warns that its process still runs, and this one outlives us.
_children: dict[Path, subprocess.Popen[bytes]] = {}


def _try_flock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tail(log: Path, size: int = 2000) -> str:
    try:
        return log.read_bytes()[-size:].decode("utf-8", "replace")
    except OSError as error:
        return f"(cannot be read: {error})"
