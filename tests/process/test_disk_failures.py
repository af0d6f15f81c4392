"""A disk that fails or fills up: nothing acknowledged is lost, and what happens is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coord.statuses import NO_SPACE
from coord.wire.rpc_pb2 import NOSPACE
from tests.process.killing import Campaign, Life

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

SMALL_SEGMENTS = ["--segment-size", str(128 << 10)]


def refused_for_space(life: Life) -> bool:
    """Writes are refused, and the group knows why."""
    return any(NO_SPACE.text in line and "alarm is set" in line for line in life.refused)


def campaign(path: Path, *options: str, replay: bool = True) -> Campaign:
    return Campaign(path / "data", list(options), {}, replay=replay, seed=1)


@pytest.mark.parametrize("fault", ["fdatasync:150:EIO", "write:150:EIO", "write:150+:ENOSPC"])
def test_a_failed_write_of_the_log_ends_the_server_and_acknowledges_nothing(tmp_path: Path, fault: str) -> None:
    run = campaign(tmp_path)
    life = run.start(COORD_FILES_FAULT=fault).wait()
    assert life.status == 1
    assert "writing the log" in life.fatal
    assert "Nothing that waits is acknowledged" in life.errors
    assert len(life.acknowledged) > 10
    run.check(life)
    # What was written but failed to sync may or may not be there; what was acknowledged must be.
    run.finish()


@pytest.mark.parametrize("fault", ["fdatasync:2:EIO", "fdatasync:3:EIO"], ids=["first-entry", "publication"])
def test_a_log_that_fails_while_the_server_starts_is_said_in_one_line(tmp_path: Path, fault: str) -> None:
    words = ["--data-dir", str(tmp_path / "data"), "--listen-client-urls", f"unix://{tmp_path}/s"]
    ended = subprocess.run(
        [sys.executable, "-m", "coord.server", *words, "--advertise-client-urls", "http://127.0.0.1:2379"],
        env={**os.environ, "COORD_FILES_FAULT": fault},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    [line] = [line for line in ended.stderr.splitlines() if "failed to start etcd" in line]
    assert "writing the log" in line
    assert "injected" in line


def test_a_full_disk_under_the_log_refuses_writes_and_raises_the_alarm(tmp_path: Path) -> None:
    run = campaign(tmp_path, *SMALL_SEGMENTS)
    child = run.start(COORD_FILES_FAULT="preallocate:5+:ENOSPC")
    assert child.wait_until(refused_for_space), child.kill().errors
    run.check(child.kill())
    again = run.start("--once").wait()
    assert again.recovered is not None
    assert again.recovered["alarms"] == [NOSPACE]
    run.check(again, killed=False)
    run.finish()


def test_a_full_disk_under_the_database_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    run = campaign(tmp_path, *SMALL_SEGMENTS)
    child = run.start(COORD_FILES_FAULT="database:4+:ENOSPC")
    assert child.wait_until(refused_for_space), child.kill().errors
    run.check(child.kill())
    run.finish()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_disk_that_really_fills_up(small_disk: Path) -> None:
    run = campaign(small_disk, "--segment-size", str(1 << 20))
    child = run.start()
    assert child.wait_until(refused_for_space), child.kill().errors
    run.check(child.kill())
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = run.start("--once").wait()
    assert again.recovered is not None
    assert again.recovered["alarms"] == [NOSPACE]
    run.check(again, killed=False)
    run.finish()
