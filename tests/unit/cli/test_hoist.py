"""Options may stand anywhere, as in etcdctl, and what belongs to a command that is run stays there."""

from __future__ import annotations

import pytest

from coord.cli.main import hoist
from coord.cli.output import told
from coord.errors import CallTimeout, LockTimeout, Unavailable


@pytest.mark.parametrize(
    ("words", "hoisted"),
    [
        ("get k -w json", "-w json get k"),
        ("get k -w=json --prefix", "-w=json get k --prefix"),
        ("get k --endpoints", "--endpoints get k"),
        ("lock n --ttl 3 -- cmd --ttl 4", "lock --ttl 3 n -- cmd --ttl 4"),
        ("lock n --ttl=3 --no-wait cmd", "lock --ttl=3 --no-wait n cmd"),
        ("lock --timeout 1 n cmd --user root", "lock --timeout 1 n cmd --user root"),
        ("lock n --endpoints x cmd --endpoints y", "--endpoints x lock n cmd --endpoints y"),
        ("--endpoints x lock n -w json", "--endpoints x -w json lock n"),
        ("lock n -- git checkout -- file", "lock n -- git checkout -- file"),
        ("lock n --unknown", "lock n --unknown"),
        ("lock n -h", "lock -h n"),
        ("register s a --ttl 3", "register s a --ttl 3"),
        ("put lock x --user u", "--user u put lock x"),
        ("", ""),
    ],
)
def test_options_are_moved(words: str, hoisted: str) -> None:
    assert hoist(words.split()) == hoisted.split()


def test_an_error_is_told_with_its_causes() -> None:
    lost = Unavailable("connection refused")
    late = CallTimeout("no lease was granted in time")
    late.__cause__ = lost
    timeout = LockTimeout("not won")
    timeout.__cause__ = late
    assert told(timeout) == "not won: connection refused"
    again = CallTimeout("too late: connection refused")
    again.__cause__ = lost
    assert told(again) == "too late: connection refused"
    assert told(lost) == "connection refused"
