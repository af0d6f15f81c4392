"""Which recipes are played, and the table at the end."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.matrix.stories import STORIES
from tests.matrix.story import FACES, SITUATIONS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "situation" not in metafunc.fixturenames:
        return
    chosen = str(metafunc.config.getoption("--recipes"))
    recipes = [name.strip() for name in chosen.split(",") if name.strip()] or list(STORIES)
    unknown = set(recipes) - STORIES.keys()
    if unknown:
        raise pytest.UsageError(f"--recipes: unknown {sorted(unknown)}, known are {', '.join(STORIES)}")
    metafunc.parametrize("recipe", recipes)
    metafunc.parametrize("face", FACES)
    metafunc.parametrize("situation", SITUATIONS, ids=[each.replace(" ", "-") for each in SITUATIONS])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print recipe, face and server against the situations."""
    rows: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for outcome, word in (("passed", "ok"), ("skipped", "skipped"), ("failed", "FAILED"), ("error", "ERROR")):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(getattr(report, "user_properties", ()))
            if "situation" in told:
                rows[told["recipe"], told["face"], told["server"]][told["situation"]] = word
    if not rows:
        return
    terminalreporter.section("matrix")
    terminalreporter.line("".join(f"{head:<18}" for head in ("recipe", "face", "server", *SITUATIONS)))
    for row in sorted(rows):
        cells = (rows[row].get(situation, "-") for situation in SITUATIONS)
        terminalreporter.line("".join(f"{cell:<18}" for cell in (*row, *cells)))
