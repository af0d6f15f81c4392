"""The public API as users' type checkers see it: good programs pass, mistakes are found where they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPECTED = re.compile(r"#\s*expect:\s*([\w-]+(?:,\s*[\w-]+)*)\s*$")
FOUND = re.compile(r"^(?P<path>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]$")


def checked(paths: list[Path]) -> dict[Path, set[tuple[int, str]]]:
    """Lines and codes of the errors that mypy finds in each file, in its strict mode."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPY_FORCE_COLOR": "0"},
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[Path, set[tuple[int, str]]] = {path: set() for path in paths}
    for line in done.stdout.splitlines():
        if match := FOUND.match(line):
            path = ROOT / match["path"]
            assert path in found, line
            found[path].add((int(match["line"]), match["code"]))
    return found


@pytest.fixture(scope="module")
def found():
    return checked(sorted([*HERE.glob("accept/*.py"), *HERE.glob("reject/*.py")]))


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("accept/*.py")))
def test_accepted(found, name):
    assert found[HERE / "accept" / name] == set()


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("reject/*.py")))
def test_rejected(found, name):
    path = HERE / "reject" / name
    wanted = {
        number: set(re.split(r",\s*", match[1]))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := EXPECTED.search(line))
    }
    assert wanted
    codes: dict[int, set[str]] = {}
    for number, code in found[path]:
        codes.setdefault(number, set()).add(code)
    assert set(codes) == set(wanted)
    # a checker may say more than one thing about a line; one of them must be what was expected
    assert [number for number in wanted if not wanted[number] & codes[number]] == []
