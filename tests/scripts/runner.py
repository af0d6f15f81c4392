"""Runs text scripts: blocks of commands, each with the transcript that is expected under it.

    # A comment, kept as it is. The first one says what the script is about.
    put a 1
    ----
    revision 2

A block ends at a blank line. Each block's lines are given to the interpreter in one piece; what it returns is compared
with the text between "----" and the blank line. Run pytest with COORD_REWRITE_SCRIPTS=1 to write what comes out into
the files, and review the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

SEPARATOR = "----"
REWRITE = os.environ.get("COORD_REWRITE_SCRIPTS") == "1"


def scripts(name: str) -> list[Path]:
    """The scripts in the folder `name` beside this file."""
    found = sorted((Path(__file__).parent / name).glob("*.txt"))
    assert found, f"no scripts in {name}"
    return found


def run(path: Path, interpret: Callable[[list[str]], str]) -> None:
    """Run one script; fails at its end, with the whole transcript beside the expected one."""
    expected = path.read_text()
    actual = "\n\n".join(_blocks(expected, interpret)) + "\n"
    if REWRITE:
        path.write_text(actual)
    assert actual == expected


def _blocks(text: str, interpret: Callable[[list[str]], str]) -> Iterator[str]:
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        commands = lines[: lines.index(SEPARATOR)] if SEPARATOR in lines else lines
        active = [line for line in commands if not line.startswith("#")]
        if not active:
            yield block
            continue
        result = interpret(active).rstrip("\n")
        yield "\n".join([*commands, SEPARATOR, result] if result else [*commands, SEPARATOR])
