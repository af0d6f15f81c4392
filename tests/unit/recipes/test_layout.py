"""Stored keys: which count, and that the table for users says the same as the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from coord.recipes.common.layout import LAYOUT, is_contender

DOCUMENT = Path(__file__).parents[3] / "docs" / "layout.md"


@pytest.mark.parametrize(
    "key",
    [
        b"n/3dd7a1f72b64ed0a",
        b"n/1",
        b"n/-7fffffffffffffff",
        b"n/3dd7a1f72b64ed0a-1",
        b"n/3dd7a1f72b64ed0a-ff",
        b"n/-1-2",
    ],
)
def test_contenders(key: bytes) -> None:
    assert is_contender(b"n", key)


@pytest.mark.parametrize(
    "key",
    [
        b"n",
        b"n/",
        b"n/config",
        b"n/A1",
        b"n/1-",
        b"n/1-2-3",
        b"n/-",
        b"n/1/2",
        b"n/a/3dd7a1f72b64ed0a",
        b"n/3dd7a1f72b64ed0a\n",
        b"n/00000000000000001",
        b"m/1",
        b"nn/1",
        b"n//1",
    ],
)
def test_strangers(key: bytes) -> None:
    assert not is_contender(b"n", key)


def test_names_may_hold_anything() -> None:
    assert is_contender(b"\xff/\x00", b"\xff/\x00/1-1")
    assert is_contender(b"a/b/", b"a/b//1")


def test_the_table_for_users_is_this_one() -> None:
    text = DOCUMENT.read_text()
    for row in LAYOUT:
        line = next((each for each in text.splitlines() if each.startswith(f"| {row.recipe} |")), None)
        assert line is not None, f"docs/layout.md says nothing of {row.recipe}"
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells == [
            row.recipe,
            f"`{row.key}`",
            row.value,
            "client's" if row.leased else "none",
            row.shared_with or "–",
        ]


def test_the_table_for_users_has_nothing_else() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(LAYOUT)
