"""Stories about the store, told as text: see mvcc/*.txt and mvcc_verbs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.mvcc_verbs import Interpreter
from tests.scripts.runner import run, scripts


@pytest.mark.parametrize("path", scripts("mvcc"), ids=lambda path: path.stem)
def test_mvcc(path: Path):
    run(path, Interpreter())
