"""coord config, on every server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import coord
from coord.cli.main import main
from tests.servers import ServerProcess

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(server: ServerProcess, prefix: bytes, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; exit code, output and complaints."""

    def start(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["config", *words, "--endpoints", server.endpoint, "--namespace", prefix.decode()])
        told = capfd.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return start


def test_set_get_history_diff_and_rollback(run: Run, client: coord.Client) -> None:
    code, text, _ = run("set", "/app/", "level=debug", "db/host=a=b", "--author", "me")
    assert (code, text.splitlines()[:2]) == (0, ["+db/host=a=b", "+level=debug"])
    first = int(text.split()[-1])
    client.put("/app/level", "5")
    code, text, _ = run("set", "/app", "--unset", "db/host", "level=6")
    assert (code, text.splitlines()[:-1]) == (0, ["-db/host=a=b", "-level=5", "+level=6"])
    assert client.config("/app/").history()[0].author == "me"
    assert run("get", "/app/") == (0, "level=6\n", "")
    assert run("get", "/app/", "level") == (0, "6\n", "")
    code, text, _ = run("history", "/app/")
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows[1:]] == [str(first), str(first + 1), str(first + 2)]
    assert [row[3] for row in rows[1:3]] == ["me", "(others)"]
    code, text, _ = run("history", "/app/", "-w", "json")
    assert [each["fields"].get("level") for each in json.loads(text)["history"]] == ["debug", "5", "6"]
    assert run("diff", "/app/", str(first), str(first + 1)) == (0, "-level=debug\n+level=5\n", "")
    code, text, _ = run("diff", "/app/", str(first), "-w", "json")
    assert json.loads(text)["differences"] == [
        {"field": "db/host", "before": "a=b", "after": None},
        {"field": "level", "before": "debug", "after": "6"},
    ]
    code, text, _ = run("rollback", "/app/", str(first), "-w", "json")
    assert (code, json.loads(text)["changed"]) == (0, ["db/host", "level"])
    code, text, _ = run("get", "/app/", "-w", "json")
    assert json.loads(text)["fields"] == {"db/host": "a=b", "level": "debug"}
    assert json.loads(run("get", "/app/", "level", "-w", "json")[1])["fields"] == {"level": "debug"}


def test_what_is_stored_is_what_was_given(run: Run, client: coord.Client) -> None:
    run("set", "/app/", 'limits={"a": 1}', "text=5", "empty=")
    assert [item.value for item in client.range("/app/", prefix=True).items] == [b"", b'{"a": 1}', b"5"]
    client.put("/app/bytes", b"\xff")
    assert run("get", "/app/", "bytes") == (0, "\\xff\n", "")
    code, _, told = run("set", "/app/", "text=6")
    assert (code, "no UTF-8" in told) == (1, True)
    assert run("set", "/app/", "text=6", "--unset", "bytes")[0] == 0


def test_the_history_is_kept_as_long_as_asked(run: Run, client: coord.Client) -> None:
    for level in range(4):
        run("set", "/app/", f"level={level}", "--keep", "2")
    assert len(client.config("/app/").history()) == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("get", "/app/", "nothing"), 1, "'nothing' is not stored below /app/"),
        (("set", "/app/"), 2, "nothing is to be changed"),
        (("set", "/app/", "level"), 2, "not FIELD=VALUE"),
        (("set", "/app/", "a//b=1"), 2, "not FIELD=VALUE"),
        (("set", "/app/", "a=1", "a/b=1"), 1, "a/b lies below a field"),
        (("set", "", "a=1"), 2, "the prefix"),
        (("rollback", "/app/", "7777"), 1, "the history has no revision 7777"),
        (("diff", "/app/", "7777"), 1, "the history has no revision 7777"),
    ],
)
def test_mistakes_are_told(run: Run, client: coord.Client, words: tuple[str, ...], code: int, says: str) -> None:
    ended, _, told = run(*words)
    assert (ended, says in told) == (code, True), told
    assert client.range("", prefix=True).items == ()
