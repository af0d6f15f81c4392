"""kill -9 at random moments, over and over: nothing acknowledged is lost, nothing is half applied.

The server runs in a child process under load; the kernel keeps what it told us in the pipe before it died. In the mode
"real" the disk is the real one (a kill loses what was not handed to the kernel); in the mode "lossy" everything that
was not synced is lost with the process, as at a power loss; "torn" lets parts of it through.

`COORD_KILLS=50 pytest tests/process/test_durability.py` kills fifty times in each mode; the default is a tenth of that.
A failure names its seed; `COORD_SEED=…` repeats it as far as timing allows.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.process.durability_model import Loss
from tests.process.killing import Campaign

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("COORD_KILLS", "5"))
SEED = int(os.environ.get("COORD_SEED", str(random.randrange(10**6))))

WHOLE_LOG: list[str] = []
PURGED_LOG = ["--snapshot-count", "60", "--mark-bytes", str(100 << 10), "--segment-size", str(256 << 10), "--compact"]


def survive(campaign: Campaign, kills: int) -> None:
    for _ in range(kills):
        campaign.kill_once()
    campaign.finish()
    assert campaign.acknowledged > 10 * kills, "hardly anything was acknowledged: this proved nothing"
    assert campaign.checker.checked >= kills // 2


@pytest.mark.parametrize("mode", ["real", "lossy", "torn"])
def test_nothing_acknowledged_is_lost_and_the_state_is_what_the_log_says(tmp_path: Path, mode: str) -> None:
    print(f"seed {SEED}")
    environment = {"real": {}, "lossy": {"COORD_FILES": "lossy"}}.get(mode)
    if environment is None:
        environment = {"COORD_FILES": "lossy", "COORD_FILES_TORN": str(SEED)}
    campaign = Campaign(tmp_path / "data", WHOLE_LOG, environment, replay=True, seed=SEED)
    survive(campaign, KILLS)
    print(f"{campaign.acknowledged} acknowledged, {campaign.torn} torn writes repaired")
    assert mode != "torn" or campaign.torn or KILLS < 30, "no write was torn: this proved nothing"


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
        ({"COORD_FILES_SKIP": "backend-sync"}, PURGED_LOG),
        ({"COORD_REPLICA_SKIP": "purge-before-sync"}, PURGED_LOG),
    ],
    ids=["wal-fdatasync", "dir-fsync", "backend-sync", "purge-before-sync"],
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
