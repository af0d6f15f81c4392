"""The story of coord in half a minute, with real processes: `make demo`.

Every actor is a process of its own that runs the few lines a user would write; this program starts them, kills one of
them, and tells what happens. It fails if anything happened that must not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import coord

TTL = 3
NAME = "/demo/the-lock"
_START = time.monotonic()


def worker(name: str, rounds: int) -> None:
    """An actor that works under the lock."""
    with coord.connect() as client:
        for _ in range(rounds):
            with client.lock(NAME, ttl=TTL) as held:
                print(f"{name} enters, fence {held.fence}", flush=True)
                time.sleep(0.4)
                print(f"{name} leaves", flush=True)


def sleeper(name: str) -> None:
    """An actor that takes the lock and does not come back."""
    with coord.connect() as client, client.lock(NAME, ttl=TTL) as held:
        print(f"{name} enters, fence {held.fence}", flush=True)
        signal.pause()


def service(name: str, address: str) -> None:
    """An actor that offers a service."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with coord.connect() as client, client.register("shop", address, metadata={"actor": name}, ttl=TTL):
        print(f"{name} is registered at {address}", flush=True)
        ended.wait()
    print(f"{name} took itself out", flush=True)


def visitor() -> None:
    """An actor that follows who offers the service."""
    with coord.connect() as client:
        for change in client.discover("shop").changes():
            print(f"visitor sees: {change.instance.address} {change.kind.value}", flush=True)


class Stage:
    """Starts actors, prints what they say, remembers it."""

    def __init__(self) -> None:
        self._actors: list[subprocess.Popen[str]] = []
        self._heard: list[tuple[float, str]] = []
        self._news = threading.Condition()

    def tell(self, text: str) -> None:
        """A line of the narrator."""
        print(f"\n{text}", flush=True)

    def actor(self, *words: str) -> subprocess.Popen[str]:
        """Start an actor of this file."""
        return self.command(sys.executable, __file__, *words)

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start any command and listen to it."""
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._actors.append(child)
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()
        return child

    def _listen(self, child: subprocess.Popen[str]) -> None:
        if child.stdout is None:
            return
        for raw in child.stdout:
            said = raw.rstrip()
            with self._news:
                print(f"  {time.monotonic() - _START:5.1f} s  {said}", flush=True)
                self._heard.append((time.monotonic(), said))
                self._news.notify_all()

    def wait_for(self, text: str, *, since: float = 0.0, timeout: float = 30.0) -> float:
        """Wait until an actor has said something that contains `text`; returns when.

        Raises:
            SystemExit: nobody says it.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for when, said in self._heard:
                    if when >= since and text in said:
                        return when
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise SystemExit(f"the demo failed: nobody said {text!r} within {timeout:g} s")

    def overlaps(self) -> int:
        """How often somebody entered while somebody else was inside."""
        inside, found = 0, 0
        for _, said in self._heard:
            inside += (" enters" in said) - (" leaves" in said)
            found += inside > 1
        return found

    def clear(self) -> None:
        """Send everybody home."""
        for child in self._actors:
            if child.poll() is None:
                child.terminate()
        for child in self._actors:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def play(stage: Stage) -> None:
    """The story.

    Raises:
        SystemExit: something happened that must not.
    """
    stage.tell("1. Three processes, one lock, nothing configured: the first starts the local server, all share it.")
    workers = [stage.actor("worker", name, "2") for name in ("anna", "bert", "cleo")]
    for child in workers:
        child.wait(60)
    if any(child.returncode for child in workers) or stage.overlaps():
        raise SystemExit("the demo failed: two workers were inside at once, or one failed")
    print("     → six turns, never two inside at once; the fence grew with every holder.")

    stage.tell("2. The holder is killed with kill -9. Its lease expires, and the lock passes on.")
    holder = stage.actor("sleeper", "dora")
    stage.wait_for("dora enters")
    stage.actor("worker", "emil", "1")
    time.sleep(1.0)
    killed = time.monotonic()
    holder.send_signal(signal.SIGKILL)
    print(f"  {killed - _START:5.1f} s  dora is killed", flush=True)
    passed = stage.wait_for("emil enters", since=killed, timeout=TTL + 10)
    print(f"     → emil had the lock {passed - killed:.1f} s later; the TTL is {TTL} s.")
    stage.wait_for("emil leaves", since=killed)

    stage.tell("3. A service registers and is discovered; one instance leaves in order, one is killed.")
    stage.actor("visitor")
    first = stage.actor("service", "shop-1", "10.0.0.1:8000")
    second = stage.actor("service", "shop-2", "10.0.0.2:8000")
    stage.wait_for("10.0.0.1:8000 joined")
    stage.wait_for("10.0.0.2:8000 joined")
    first.terminate()
    stage.wait_for("10.0.0.1:8000 left")
    second.send_signal(signal.SIGKILL)
    stage.wait_for("10.0.0.2:8000 left", timeout=TTL + 10)
    print("     → gone at once when it said so, within its TTL when it could not.")

    stage.tell("4. The same from the command line.")
    tool = (sys.executable, "-m", "coord.cli.main")
    stage.command(*tool, "lock", NAME, "--", "sh", "-c", "echo the command runs under $ETCD_LOCK_KEY").wait(30)
    stage.wait_for("the command runs under")
    stage.command(*tool, "status").wait(30)


@contextmanager
def own_server() -> Iterator[None]:
    """A local server of the demo's own, in a directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="coord-demo-") as directory:
        os.environ.update(COORD_LOCAL="1", COORD_LOCAL_DIR=str(Path(directory) / "local"))
        for name in ("COORD_ENDPOINTS", "ETCDCTL_ENDPOINTS"):
            os.environ.pop(name, None)
        try:
            yield
        finally:
            from coord.local import LocalServer

            LocalServer().stop()


def main() -> None:
    """Play, or be one of the actors."""
    warnings.simplefilter("ignore", coord.LocalServerNotice)
    match sys.argv[1:]:
        case ["worker", name, rounds]:
            worker(name, int(rounds))
        case ["sleeper", name]:
            sleeper(name)
        case ["service", name, address]:
            service(name, address)
        case ["visitor"]:
            visitor()
        case _:
            show()


def show() -> None:
    """Play on a server of its own."""
    stage = Stage()
    with own_server():
        try:
            play(stage)
        finally:
            stage.clear()
    print("\nThat is coord. README.md goes on from here.")


if __name__ == "__main__":
    main()
