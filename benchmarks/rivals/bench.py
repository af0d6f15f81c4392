"""The same lock cycle on the same etcd 3.4, by coord and by the clients of the package index.

Each rival lives in an environment that is made for the run and removed after it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import coord
from benchmarks import places
from benchmarks.locks import BareCycles, lock_cycles
from benchmarks.report import Line, alternate, ratios
from tests.servers import running

NAME = "rivals"
CYCLES = 150


@dataclass(frozen=True, slots=True)
class Rival:
    """A client of the package index.

    Attributes:
        name: of the package.
        pins: what pip installs. etcd3's generated messages are refused by protobuf 4 and newer, and its lock waits
            with an old interface of tenacity.
        script: what measures it.
    """

    name: str
    pins: tuple[str, ...]
    script: str


RIVALS = (
    Rival("etcd3", ("etcd3==0.12.0", "protobuf<4", "grpcio<1.70", "tenacity<9"), "etcd3_lock.py"),
    Rival("aetcd", ("aetcd==1.0.0",), "aetcd_lock.py"),
)


def run(rounds: int) -> Iterator[Line]:
    """One line for each rival that can be installed, and one for the best of them.

    Raises:
        ServerMissing: etcd 3.4 is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="coord-rivals-") as home, running(places.ETCD) as server:
        subjects: dict[str, Callable[[], float]] = {}
        for rival in RIVALS:
            try:
                measure = partial(_cycles, _install(rival, Path(home)), rival, places.number(server))
                measure()
            except (subprocess.SubprocessError, OSError) as error:
                print(f"{rival.name} is left out, it cannot be installed or run here: {_reason(error)}", flush=True)
            else:
                subjects[rival.name] = measure
        if not subjects:
            return
        with coord.connect(server.endpoint) as client, places.channel(server.target) as channel:
            lock_cycles(client, CYCLES // 3)  # as the rivals do in each round
            subjects["coord"] = partial(lock_cycles, client, CYCLES)
            subjects["bare"] = partial(BareCycles(channel).run, CYCLES)
            measured = alternate(subjects, rounds)
        ours, bare = measured.pop("coord"), measured.pop("bare")
        for name, theirs in measured.items():
            yield Line(f"lock cycles on etcd 3.4, coord : {name}", ratios(theirs, ours))
        best = [min(each) for each in zip(*measured.values(), strict=True)]
        note = f"our messages sent bare : the best is {Line('', ratios(best, bare)).ratio:.2f}"
        yield Line("lock cycles on etcd 3.4, coord : the best of them", ratios(best, ours), at_least=1.5, note=note)


def _install(rival: Rival, home: Path) -> Path:
    """An environment with the rival; returns its interpreter."""
    environment = home / rival.name
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, capture_output=True, text=True, timeout=120)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *rival.pins],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return python


def _cycles(python: Path, rival: Rival, port: int) -> float:
    script = Path(__file__).with_name(rival.script)
    done = subprocess.run(
        [python, script, "127.0.0.1", str(port), str(CYCLES)], check=True, capture_output=True, text=True, timeout=120
    )
    return float(done.stdout)


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    return str(said).strip().splitlines()[-1][:200]
