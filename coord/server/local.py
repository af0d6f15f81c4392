"""The server's side of the per-user local server; `coord.local` is the starters' side and tells the protocol.

Run as ``python -m coord.server.local DIRECTORY``. Holds ``data.lock`` for life, so there is never a second one; stops
by itself when nobody was connected and no lease was alive for a while (`COORD_LOCAL_IDLE` seconds, 300 by default, 0
for never).
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from coord.server.process import serve
from coord.server.server import Server
from coord.server.settings.config import ServerConfig
from coord.server.version import coord_version

IDLE_SECONDS = 300.0

_PEER_URL = "http://localhost:2380"  # never listened on; the member's id is made from it


class Life:
    """One local server's files and its decision to go.

    The lock on start.lock taken by `may_go` is never given back: it ends with the process, after data.lock's work is
    done, so a starter that waits for it finds nobody.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.socket = directory / "server.sock"

    def take(self) -> bool:
        """Become the local server of the directory; False if there is one."""
        return _lock(self._directory / "data.lock") is not None

    def ready(self, _server: Server) -> None:
        """Write down who serves."""
        facts = {"pid": os.getpid(), "version": coord_version(), "started": round(time.time(), 3)}
        unfinished = self._directory / "server.json.new"
        unfinished.write_text(json.dumps(facts) + "\n")
        unfinished.replace(self._directory / "server.json")

    def may_go(self, server: Server) -> bool:
        """Nobody was here for a while: go, unless somebody is just arriving."""
        handle = _lock(self._directory / "start.lock")
        if handle is None:
            return False
        # Between the last look and the lock a starter may have connected, and be about to send its first request.
        if server.connections or server.leases:
            os.close(handle)
            return False
        self.socket.unlink(missing_ok=True)
        return True


def _lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def idle_seconds() -> float:
    """Seconds without connections and leases after which the server stops, 0 for never."""
    return max(0.0, float(os.environ.get("COORD_LOCAL_IDLE") or IDLE_SECONDS))


def main(argv: Sequence[str]) -> int:
    """Serve the directory named on the command line; returns the exit code."""
    directory = Path(argv[0])
    life = Life(directory)
    if not life.take():
        sys.stderr.write(f"another local server serves {directory}\n")
        return 1
    url = f"unix://{life.socket}"
    config = ServerConfig(
        name="local",
        data_dir=str(directory / "data"),
        listen_client_urls=(url,),
        advertise_client_urls=(url,),
        listen_peer_urls=(_PEER_URL,),
        initial_advertise_peer_urls=(_PEER_URL,),
        idle_stop_s=idle_seconds(),
        log_format="console",
        log_level="warn",
    )
    return serve(config, on_idle=life.may_go, on_ready=life.ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
