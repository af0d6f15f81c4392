"""Command-line processes under test: started, listened to, killed by id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Self

from tests.servers import ROOT


class Actor:
    """One process; what it prints is kept with the time it came."""

    def __init__(self, *words: str, environment: dict[str, str] | None = None, spoken_to: bool = False) -> None:
        self.lines: list[tuple[float, str]] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if spoken_to else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append((time.monotonic(), line.rstrip("\n")))
                self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def said(self, text: str) -> float | None:
        """When a line with `text` came, None if none did."""
        return next((when for when, line in self.lines if text in line), None)

    def wait_for(self, text: str, seconds: float = 30.0) -> float:
        """Wait until a line with `text` comes; returns when it came."""
        deadline = time.monotonic() + seconds
        with self._news:
            while (when := self.said(text)) is None:
                left = deadline - time.monotonic()
                assert left > 0, f"{text!r} was not said within {seconds} s, but:\n{self.text}"
                self._news.wait(left)
        return when

    def tell(self, word: str) -> None:
        """Write a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self, seconds: float = 30.0) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        code = self._process.wait(seconds)
        self._reader.join(5)
        return code

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.signal(signal.SIGCONT)
            self.kill()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def coord(*words: str, environment: dict[str, str] | None = None) -> Actor:
    """The `coord` command."""
    return Actor(sys.executable, "-m", "coord.cli.main", *words, environment=environment)


def python(code: str, *words: str, environment: dict[str, str] | None = None) -> Actor:
    """A Python program."""
    return Actor(sys.executable, "-W", "ignore", "-c", code, *words, environment=environment)


def alive(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
