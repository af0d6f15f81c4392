"""A server that is stopped and goes on: leases whose holders could not renew meanwhile are still alive."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.process.killing import Child, Life

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PAUSE_SECONDS = 4.0


def test_a_lease_outlives_a_pause_twice_its_length(tmp_path: Path) -> None:
    child = Child(tmp_path / "data", ["--renew"], {})
    assert child.wait_until(lambda life: len(life.renewals) > 3)
    child.signal(signal.SIGSTOP)
    time.sleep(PAUSE_SECONDS)
    before = len(child.life.renewals)
    child.signal(signal.SIGCONT)

    def renewed_for_long(life: Life) -> bool:
        return len(life.renewals) > before + 15

    assert child.wait_until(renewed_for_long)
    life = child.kill()
    assert set(life.renewals) == {2}
    assert "the server stood still" in life.errors
