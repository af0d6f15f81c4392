"""A configuration as it is seen: what is shown, what goes wrong, the last good state, callbacks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from coord.errors import (
    CallTimeout,
    ClosedError,
    ConfigInvalid,
    RequestRefused,
    Unavailable,
    UsageError,
)
from coord.program import run_blocking
from coord.recipes.config.base import Options
from coord.recipes.config.config import AsyncConfig
from coord.recipes.config.layers import Layers
from coord.recipes.config.shape import shape_of
from coord.recipes.config.state import Change, Follower
from tests.unit.recipes.direct import Place as Server
from tests.unit.recipes.stepped import Client, Settings, catch_up, config, place, stored


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server, 1)


# --- reading


def test_it_is_read_with_one_request_and_shown(server: Server, client: Client) -> None:
    server.server.put(b"/app/level", b"5")
    with config(client) as opened:
        assert opened.current == Settings(level=5)
        assert (opened.revision, opened.error, opened.stale) == (2, None, False)
        assert [opened.origin("level"), opened.origin("name")] == ["etcd", "model"]
        assert len(client.requests) == 1
        server.server.put(b"/app/name", b"x")
        server.server.put(b"/apples", b"not ours")
        assert catch_up(opened) == [Change(Settings(5), Settings(5, "x"), ("name",), 3)]
        assert opened.current == Settings(5, "x")
    assert "closed" in repr(opened)


def test_an_invalid_state_is_told_and_not_shown(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with config(client) as opened:
        opened.update(level=5)
        catch_up(opened)
        server.server.put(b"/app/level", b"100")
        (told,) = catch_up(opened)
        assert (told.old, told.new, told.fields) == (Settings(5), Settings(5), ())
        assert str(told.error) == "level is too large"
        assert opened.error is told.error
        assert told.error is not None
        assert told.error.revision == 3
        assert opened.current == Settings(5)
        server.server.put(b"/app/name", b"x")
        assert catch_up(opened) == [], "the same trouble is told once"
        assert len(caplog.records) == 1
        server.server.put(b"/app/level", b"5")
        (told,) = catch_up(opened)
        assert (told.fields, told.error, opened.error) == (("name",), None, None)


def test_it_does_not_open_on_an_invalid_state(server: Server, client: Client) -> None:
    server.server.put(b"/app/level", b"100")
    with pytest.raises(ConfigInvalid, match="level is too large"), config(client):
        pass
    assert client.hub.watchers == {}


def test_keys_of_no_field_are_told_once(server: Server, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    server.server.put(b"/app/stranger", b"\xff")
    server.server.put(b"/app//x", b"1")
    with config(client) as opened:
        server.server.put(b"/app/stranger", b"2")
        catch_up(opened)
        opened.update(level=1)
    assert [record.getMessage() for record in caplog.records] == [
        "the configuration '/app/': the stored 'stranger' is no field of its model; coord ignores it"
    ]
    assert stored(server)["/app/stranger"] == b"2"


def test_it_must_be_open_to_show_something(client: Client) -> None:
    closed = config(client)
    for look in (lambda: closed.current, lambda: closed.revision, lambda: closed.error, lambda: closed.origin("level")):
        with pytest.raises(ClosedError, match="not open"):
            look()
    with closed, pytest.raises(UsageError, match="no field 'nothing'"):
        closed.origin("nothing")


def test_a_refused_range_is_told_and_the_last_state_stays(server: Server, client: Client) -> None:
    with config(client) as opened:
        following: Any = opened._following
        following.failure = RequestRefused("no", code=7)
        assert opened.current == Settings()
        assert opened.error is following.failure


# --- the last good state


def test_the_last_good_state_is_saved_and_used(server: Server, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "app.json"
    with config(client, cache=file) as opened:
        opened.update(level=5)
        catch_up(opened)
        following: Any = opened._following
        opened._save(following)
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert [each.name for each in tmp_path.iterdir()] == ["app.json"]
    client.troubles = [Unavailable("no server")] * 20
    with config(client, cache=file) as opened:
        assert (opened.current, opened.stale, opened.revision) == (Settings(5), True, 2)
        client.troubles.clear()
        assert catch_up(opened) == []
        assert (opened.current, opened.stale) == (Settings(5), False)


def test_the_last_good_state_stands_in_for_an_invalid_one(server: Server, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "app.json"
    file.write_text(json.dumps({"prefix": "/app/", "revision": 7, "state": {"level": "7"}}))
    server.server.put(b"/app/level", b"100")
    with config(client, cache=file) as opened:
        assert (opened.current, opened.stale, str(opened.error)) == (Settings(7), True, "level is too large")
        opened.update(level=8)
        catch_up(opened)
        assert (opened.current, opened.stale, opened.error) == (Settings(8), False, None)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"prefix": "/other/", "revision": 1, "state": {}}',
        b'{"prefix": "/app/", "revision": 1, "state": {"level": "100"}}',
    ],
)
def test_without_a_last_good_state_it_does_not_open(client: Client, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "app.json"
    if content is not None:
        file.write_bytes(content)
    client.troubles = [Unavailable("no server")] * 20
    with pytest.raises(CallTimeout, match="could not be read in time"), config(client, cache=file):
        pass


def test_a_file_that_cannot_be_written_is_told_once(client: Client, tmp_path: Path, caplog: Any) -> None:
    with config(client, cache=tmp_path / "missing" / "app.json") as opened:
        following: Any = opened._following
        opened._save(following)
        opened._save(following)
    assert len(caplog.records) == 1


def test_a_write_that_fails_leaves_the_old_file(client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "app.json"
    file.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with config(client, cache=file) as opened:
        following: Any = opened._following
        opened._save(following)
    assert (file.read_text(), len(list(tmp_path.iterdir()))) == ("old", 1)


# --- callbacks


def test_callbacks_are_told_and_may_fail(server: Server, client: Client, caplog: Any) -> None:
    told: list[Change[Any]] = []

    def on_change(change: Change[Any]) -> None:
        told.append(change)
        if len(told) == 3:
            opened.close()
            return
        server.server.put(b"/app/level", str(len(told) + 1).encode())
        catch_up(opened)
        raise KeyError("of the callback")

    opened = config(client, on_change=on_change)
    with opened:
        server.server.put(b"/app/level", b"100")
        catch_up(opened)
        _, tell = client.programs
        # It was opened on a state that is not valid: with a file of the last good one, say.
        run_blocking(tell(client))
    assert [change.new.level for change in told] == [0, 2, 3]
    assert [change.error is None for change in told] == [False, True, True]
    assert sum("on_change failed" in record.getMessage() for record in caplog.records) == 2


# --- on asyncio


def test_the_asyncio_face(server: Server, client: Client) -> None:
    async def main() -> None:
        other = AsyncConfig[Any](client, "/app", Settings, Options())
        assert (await other.update(level=1)).new == Settings(1)
        assert (await other.update(lambda now: {"level": now.level + 1})).new == Settings(2)
        assert (await other.rollback(2)).new == Settings(1)
        assert [entry.revision for entry in await other.history()] == [2, 3, 4]
        assert len(await other.diff(2, 3)) == 1

    asyncio.run(main())


def test_nothing_is_shown_twice(server: Server, client: Client) -> None:
    """A follower of its own, without an open configuration."""
    config(client).update(level=1)
    follower: Follower[Any] = Follower(client, place(), Layers(Settings, shape_of(Settings), (), logging.info))
    (first,) = run_blocking(follower.next(client.now() + 1))
    assert first == Change(None, Settings(1), ("level",), 2)
    server.server.put(b"/app/level", b"1")
    with pytest.raises(CallTimeout):
        run_blocking(follower.next(client.now() + 1))
    assert follower.seen.newest == 3
    follower.close()
