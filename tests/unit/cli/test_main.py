"""What `coord` prints and returns before it needs a server."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import typer.main

from coord.cli import output
from coord.cli.main import app, main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    written = capsys.readouterr()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0, written.out, written.err


def test_version_is_an_option_too(capsys):
    assert run(capsys, "--version") == (0, f"coord {metadata.version('coord')}\n", "")


def test_versions_in_json(capsys):
    code, out, _ = run(capsys, "version", "-w", "json")
    assert code == 0
    assert json.loads(out)["grpcio"] == metadata.version("grpcio")


@pytest.mark.parametrize(
    "words",
    [
        ("--endpoints", "ftp://x", "get", "k"),
        ("--endpoints", "http://127.0.0.1:1", "lock", "", "--", "true"),
        ("--endpoints", "http://127.0.0.1:1", "lock", "n", "--ttl", "0", "--", "true"),
        ("--endpoints", "http://127.0.0.1:1", "get", "k", "--command-timeout", "-1"),
    ],
)
def test_values_that_cannot_work_are_a_wrong_command_line(capsys, words):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")


def test_help_tells_each_command_in_a_whole_sentence(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "..." not in out.partition("Commands:")[2]
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]  # it is a group
        assert f"\n  {name} " in out


def test_a_mistaken_flag_of_the_server_is_not_buried_in_help(capsys):
    code, _, err = run(capsys, "server", "--no-such-flag")
    assert code == 2
    assert err.splitlines() == [
        "flag provided but not defined: -no-such-flag",
        "Usage: coord server [flags]; coord server --help lists them",
    ]


def test_a_table_has_no_blanks_at_the_end_of_a_line(capsys):
    output.table(("NAME", "REMARKS"), (("a", ""), ("longer", "yes")))
    assert capsys.readouterr().out.splitlines() == ["NAME    REMARKS", "a", "longer  yes"]
