"""Children that are killed, and what the parent knows of them; used by the tests beside it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coord.server.machine.apply import StateMachine
from coord.server.member import commands
from coord.server.storage.files import RealFiles
from coord.server.storage.memory import MemoryBackend
from coord.server.storage.recovery import LogReader
from coord.server.storage.segments import list_segments
from coord.statuses import Refused
from tests.process.durability_child import digest
from tests.process.durability_model import Checker, Loss

ROOT = Path(__file__).resolve().parents[2]
WRITERS = 4
START_SECONDS = 30.0


@dataclass
class Life:
    """What one child told."""

    recovered: dict[str, Any] | None = None
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    renewals: list[int] = field(default_factory=list)
    fatal: str = ""
    errors: str = ""
    status: int = 0


class Child:
    """One run of the member."""

    def __init__(self, data: Path, options: list[str], environment: dict[str, str]) -> None:
        self.life = Life()
        command = [sys.executable, "-m", "tests.process.durability_child", "--data-dir", str(data), *options]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._told = threading.Condition()
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                break  # cut short by the kill
            with self._told:
                self._take(line.decode().rstrip("\n"))
                self._told.notify_all()
        with self._told:
            self._told.notify_all()

    def _take(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "A":
            writer, step = rest.split()
            self.life.acknowledged.append((int(writer), int(step)))
        elif kind == "S":
            self.life.recovered = json.loads(rest)
        elif kind == "R":
            self.life.refused.append(rest)
        elif kind == "L":
            self.life.renewals.append(int(rest))
        elif kind == "E":
            self.life.fatal = rest

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.life.errors = self._process.stderr.read().decode(errors="replace")

    def wait_until(self, condition: Callable[[Life], bool], seconds: float = START_SECONDS) -> bool:
        """True once `condition(life)` holds; False if the child ended or the time is over before."""
        with self._told:
            return self._told.wait_for(
                lambda: condition(self.life) or self._process.poll() is not None, seconds
            ) and condition(self.life)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> Life:
        self._process.kill()
        return self.wait()

    def wait(self, seconds: float = START_SECONDS) -> Life:
        self.life.status = self._process.wait(seconds)
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return self.life


class Replay:
    """The state that the log alone gives, kept from kill to kill."""

    def __init__(self, wal: Path) -> None:
        self._wal = wal
        self._backend = MemoryBackend()
        self._state = StateMachine(self._backend, cluster_id=1, member_id=1, term=lambda: 1, now=lambda: 0.0)
        self._applied = 0

    def digest(self) -> str:
        """Apply what the log got since the last call."""
        files = RealFiles()
        segments = list_segments(files, self._wal)
        if segments:
            log, _ = LogReader(files).read(segments)
            assert log.mark.index == 0, "the log must reach back to the start"
            for entry in log.entries:
                if entry.index > self._applied and entry.data:
                    self._apply(entry.data)
                self._applied = max(self._applied, entry.index)
        return digest(self._backend)

    def _apply(self, data: bytes) -> None:
        try:
            self._state.apply(commands.decode(data))
        except Refused:
            return  # refused then, refused now


class Campaign:
    """Starts, loads, kills and checks one data directory."""

    def __init__(self, data: Path, options: list[str], environment: dict[str, str], *, replay: bool, seed: int) -> None:
        self.checker = Checker(WRITERS)
        self.acknowledged = 0
        self.torn = 0
        self.random = random.Random(seed)
        self._data = data
        self._options = [*options, "--writers", str(WRITERS)]
        self._environment = environment
        self._replay = Replay(data / "member" / "wal") if replay else None

    def kill_once(self) -> None:
        """One life: from its start to its death at a random moment.

        Raises:
            Loss: what it recovered is wrong.
        """
        expected = None if self._replay is None else self._replay.digest()
        child = self.start()
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0.0, 0.8))  # it may not even have recovered yet
        elif child.wait_until(lambda life: bool(life.acknowledged)):
            time.sleep(self.random.uniform(0.0, 0.5))
        self._check(child.kill(), expected, killed=True)

    def finish(self) -> None:
        """A last start that ends in order, twice: the second must find what the first did.

        Raises:
            Loss: what it recovered is wrong.
        """
        for _ in range(2):
            expected = None if self._replay is None else self._replay.digest()
            life = self.start("--once").wait()
            self._check(life, expected, killed=False)
            if life.status != 0:
                raise Loss(f"it did not stop in order: {life.errors}")

    def start(self, *more: str, **environment: str) -> Child:
        """A child on the directory; `environment` beside the campaign's own."""
        return Child(self._data, [*self._options, *more], {**self._environment, **environment})

    def _check(self, life: Life, expected: str | None, *, killed: bool) -> None:
        if life.fatal or (killed and life.status != -9):
            raise Loss(f"it ended by itself ({life.status}): {life.fatal or life.errors}")
        self.check(life, expected, killed=killed)

    def check(self, life: Life, expected: str | None = None, *, killed: bool = True) -> None:
        """Compare what a child recovered, then take down what it acknowledged.

        Raises:
            Loss: what it recovered is wrong.
        """
        if life.recovered is None:
            if not killed:
                raise Loss(f"it did not start: {life.errors}")
            return
        found = {key.encode(): step for key, step in life.recovered["keys"].items()}
        self.checker.recovered(found, {key.encode() for key in life.recovered["attached"]})
        if expected is not None and life.recovered["digest"] != expected:
            raise Loss("the recovered state is not what the log says")
        for writer, step in life.acknowledged:
            self.checker.acknowledge(writer, step)
        self.acknowledged += len(life.acknowledged)
        self.torn += "unfinished write" in life.errors
