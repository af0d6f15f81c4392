"""kill -9 at random moments, over and over: nothing acknowledged is lost, nothing is half applied.

The server runs in a child process under load; the kernel keeps what it told us in the pipe before it died. In the mode
"real" the disk is the real one (a kill loses what was not handed to the kernel); in the mode "lossy" everything that
was not synced is lost with the process, as at a power loss; "torn" lets parts of it through.

`COORD_KILLS=50 pytest tests/process/test_durability.py` kills fifty times in each mode; the default is a tenth of that.
A failure names its seed; `COORD_SEED=…` repeats it as far as timing allows.
"""

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

import pytest

from coord.server import commands
from coord.server.apply import StateMachine
from coord.server.storage.files import RealFiles
from coord.server.storage.memory import MemoryBackend
from coord.server.storage.recovery import LogReader
from coord.server.storage.segments import list_segments
from coord.statuses import Refused
from tests.process.durability_child import digest
from tests.process.durability_model import Checker, Loss

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("COORD_KILLS", "5"))
SEED = int(os.environ.get("COORD_SEED", str(random.randrange(10**6))))
ROOT = Path(__file__).resolve().parents[2]
WRITERS = 4
START_SECONDS = 30.0


@dataclass
class Life:
    """What one child told."""

    recovered: dict[str, Any] | None = None
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
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
        child = self._start()
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
            life = self._start("--once").wait()
            self._check(life, expected, killed=False)
            if life.status != 0:
                raise Loss(f"it did not stop in order: {life.errors}")

    def _start(self, *more: str) -> Child:
        return Child(self._data, [*self._options, *more], self._environment)

    def _check(self, life: Life, expected: str | None, *, killed: bool) -> None:
        if life.fatal or (killed and life.status != -9):
            raise Loss(f"it ended by itself ({life.status}): {life.fatal or life.errors}")
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


WHOLE_LOG: list[str] = []
PURGED_LOG = ["--snapshot-count", "60", "--segment-size", str(256 << 10), "--compact"]


def survive(campaign: Campaign, kills: int) -> None:
    for _ in range(kills):
        campaign.kill_once()
    campaign.finish()
    assert campaign.acknowledged > 20 * kills, "hardly anything was acknowledged: this proved nothing"
    assert campaign.checker.checked >= kills // 2


@pytest.mark.parametrize("mode", ["real", "lossy", "torn"])
def test_nothing_acknowledged_is_lost_and_the_state_is_what_the_log_says(tmp_path: Path, mode: str) -> None:
    print(f"seed {SEED}")
    environment = {"real": {}, "lossy": {"COORD_FILES": "lossy"}}.get(mode)
    if environment is None:
        environment = {"COORD_FILES": "lossy", "COORD_FILES_TORN": str(SEED)}
    survive(Campaign(tmp_path / "data", WHOLE_LOG, environment, replay=True, seed=SEED), KILLS)


@pytest.mark.parametrize("mode", ["real", "lossy"])
def test_nothing_acknowledged_is_lost_while_the_log_is_purged_and_compacted(tmp_path: Path, mode: str) -> None:
    print(f"seed {SEED}")
    environment = {"COORD_FILES": "lossy"} if mode == "lossy" else {}
    survive(Campaign(tmp_path / "data", PURGED_LOG, environment, replay=False, seed=SEED), KILLS)


@pytest.mark.parametrize(
    ("defect", "options"),
    [
        ({"COORD_FILES_SKIP": "wal-fdatasync"}, WHOLE_LOG),
        ({"COORD_FILES_SKIP": "dir-fsync"}, WHOLE_LOG),
        ({"COORD_REPLICA_SKIP": "purge-before-sync"}, PURGED_LOG),
    ],
    ids=["wal-fdatasync", "dir-fsync", "purge-before-sync"],
)
def test_the_checker_catches_a_missing_sync(tmp_path: Path, defect: dict[str, str], options: list[str]) -> None:
    environment = {"COORD_FILES": "lossy", **defect}
    campaign = Campaign(tmp_path / "data", options, environment, replay=False, seed=SEED)

    def kill_often() -> None:
        for _ in range(12):
            campaign.kill_once()

    with pytest.raises(Loss) as caught:
        kill_often()
    print(f"caught after {campaign.checker.checked} restarts: {caught.value}")
