"""The programs in the documents run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).parents[2] / "docs"
PROGRAMS = [
    pytest.param(program, id=f"{path.stem}-{number}")
    for path in sorted(DOCUMENTS.glob("recipes/*.md"))
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 2
