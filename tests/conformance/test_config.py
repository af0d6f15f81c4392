"""Configurations over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import pytest

import coord
from coord.recipes.config.state import Change
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


@dataclass(frozen=True)
class Settings:
    level: int = 0
    twin: int = 0
    tags: list[str] = field(default_factory=list)


class Model(pydantic.BaseModel):
    level: int = pydantic.Field(0, lt=100)
    name: str | None = None


def test_typed_live_changed_and_undone(client: coord.Client, other: coord.Client) -> None:
    with client.config("/app/", Settings) as mine, other.config("/app", Settings) as theirs:
        assert mine.current == theirs.current == Settings()
        changes = theirs.changes()
        assert next(changes).new == Settings()
        made = mine.update(level=1, tags=["a"])
        assert mine.current == made.new == Settings(1, 0, ["a"]), "it shows what it wrote"
        seen = next(changes)
        assert (seen.old, seen.new, seen.fields) == (Settings(), made.new, ("level", "tags"))
        assert (seen.revision, theirs.current) == (made.revision, made.new)
        mine.update(level=coord.DEFAULT, twin=2)
        assert next(changes).new == Settings(0, 2, ["a"])
        assert mine.rollback(made.revision).new == made.new
        assert next(changes).new == made.new
        both = ("level", "twin")
        assert [entry.changed for entry in theirs.history()] == [("level", "tags"), both, both]
        assert theirs.diff(made.revision) == ()


def test_on_asyncio(server: ServerProcess, prefix: bytes) -> None:
    told: list[Change[Model]] = []

    async def on_change(change: Change[Model]) -> None:
        await asyncio.sleep(0)
        told.append(change)

    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            coord.aio.connect(server.endpoint, namespace=prefix) as client,
            client.config("/app/", Model, on_change=on_change) as mine,
        ):
            changes = mine.changes()
            assert (await anext(changes)).old is None
            made = await mine.update(level=5, name="x")
            assert mine.current == Model(level=5, name="x")
            assert (await anext(changes)).new == made.new
            await asyncio.gather(*(mine.update(lambda now: {"level": now.level + 1}) for _ in range(5)))
            assert mine.current.level == 10
            with pytest.raises(coord.ConfigInvalid, match="level: Input should be less than 100"):
                await mine.update(level=100)
            await mine.rollback(made.revision)
            assert (await mine.diff(made.revision), len(await mine.history())) == ((), 7)
            await asyncio.to_thread(until, lambda: told and told[-1].new == made.new, "the callback was told")

    asyncio.run(main())
    assert told[0].old == Model.model_validate({})


def test_counters_of_many_writers_add_up(server: ServerProcess, prefix: bytes, client: coord.Client) -> None:
    def count() -> None:
        with coord.connect(server.endpoint, namespace=prefix, timeout=PATIENCE) as mine:
            for _ in range(5):
                mine.config("/app/", Settings).update(lambda now: {"level": now.level + 1, "twin": now.twin + 1})

    for join in [in_thread(count) for _ in range(4)]:
        join()
    with client.config("/app/", Settings) as seen:
        assert (seen.current.level, seen.current.twin) == (20, 20)
        assert [entry.texts["level"] for entry in seen.history()] == [str(number + 1) for number in range(20)]


def test_no_reader_sees_half_of_a_change(client: coord.Client, other: coord.Client) -> None:
    ended = threading.Event()
    torn: list[Settings] = []
    with other.config("/app/", Settings) as seen:

        def look() -> int:
            looks = 0
            while not ended.is_set():
                now = seen.current
                looks += 1
                if now.level != now.twin:
                    torn.append(now)
            return looks

        join = in_thread(look)
        mine = client.config("/app/", Settings)
        for number in range(30):
            mine.update(level=number, twin=number)
        until(lambda: seen.current.level == 29, "the last change is seen")
        ended.set()
        assert join() > 30
    assert torn == []


def test_what_others_put(client: coord.Client, other: coord.Client, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Change[Model]] = []
    with client.config("/app/", Model, on_change=told.append) as config:
        other.put("/app/level", "7")
        until(lambda: config.current.level == 7, "it is seen")
        other.put("/app/level", "700")
        until(lambda: config.error, "it is told")
        assert config.current.level == 7
        with pytest.raises(coord.ConfigInvalid):
            config.update(name="x")
        assert config.update(level=8).new == Model.model_validate({"level": 8})
        assert config.error is None
        other.put("/app/name", "them")
        until(lambda: config.current.name, "it is seen")
        config.update(level=9)
        until(lambda: told and told[-1].new == config.current, "the callback was told")
    assert [(each.author == "", each.texts.get("level")) for each in config.history()] == [
        (True, "700"),
        (False, "8"),
        (True, "8"),
        (False, "9"),
    ]
    assert [change.error is None for change in told if change.error is not None or change.new.level == 7] == [
        True,
        False,
    ]


def test_a_change_of_somebody_else_is_a_conflict(client: coord.Client, other: coord.Client) -> None:
    with client.config("/app/", Settings) as config:
        config.update(level=1)
        conflicts: list[int] = []
        for number in range(20):
            other.config("/app/", Settings).update(twin=number + 1)
            try:
                config.update(level=config.current.level + 1)
            except coord.ConfigConflict as error:
                conflicts.append(error.revision)
                until(lambda: config.revision >= conflicts[-1], "it is seen")
        assert config.current.level == 21 - len(conflicts)


def test_etcdctl_reads_and_writes_it(
    server: ServerProcess, prefix: bytes, client: coord.Client, etcdctl: Callable[..., list[str]]
) -> None:
    environment = {**os.environ, "ETCDCTL_API": "3"}
    with client.config("/app/") as config:
        config.update(level="debug", db={"port": 5})
        for path, text in (("level", "debug"), ("db/port", "5")):
            words = etcdctl("get", "--print-value-only", f"{prefix.decode()}/app/{path}")
            assert (
                subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout == text + "\n"
            )
        words = etcdctl("put", f"{prefix.decode()}/app/db/port", "6")
        subprocess.run(words, env=environment, capture_output=True, check=True)
        until(lambda: config.current["db"]["port"] == 6, "it is seen")


def test_many_fields_and_a_bounded_history(client: coord.Client) -> None:
    many = {f"f{number:03}": number for number in range(250)}
    config = client.config("/app/", keep=3)
    config.update(many)
    for turn in range(4):
        config.update({name: value + turn for name, value in many.items()})
    assert len(config.history()) == 3
    oldest = config.history()[0].revision
    assert config.rollback(oldest).new["f249"] == 250
    assert len(client.range("coord/config/", prefix=True, keys_only=True).items) == 3
    config.update(dict.fromkeys(many, coord.DEFAULT))
    assert client.range("/app/", prefix=True).items == ()


def test_it_outlives_a_restart_and_a_compaction(fresh_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    server = fresh_server()
    cache = tmp_path / "app.json"
    with coord.connect(server.endpoint, timeout=PATIENCE) as client, coord.connect(server.endpoint) as other:
        with client.config("/app/", Settings, cache=cache) as config:
            first = config.update(level=1)
            server.restart()
            assert config.current == Settings(1)
            assert config.update(level=2).new == Settings(2)
            until(lambda: json.loads(cache.read_text())["state"] == {"level": "2"}, "it is saved")
            server.stop()
            server.start()
            newest = other.put("elsewhere", "x").revision
            other.compact(newest)
            other.config("/app/", Settings).update(level=3)
            until(lambda: config.current == Settings(3), "it is read anew")
            assert config.rollback(first.revision).new == Settings(1), "the history outlives a compaction"
            until(lambda: json.loads(cache.read_text())["state"] == {"level": "1"}, "it is saved")
        server.stop()
    with coord.connect(server.endpoint, timeout=1.0) as client:
        with client.config("/app/", Settings, cache=cache) as config:
            assert (config.current, config.stale) == (Settings(1), True)
            with pytest.raises((coord.CallTimeout, coord.Unavailable)):
                config.update(level=4)
            server.start()
            until(lambda: not config.stale, "a server has answered")
            assert config.update(level=5, timeout=PATIENCE).new == Settings(5)
        with pytest.raises(coord.ClosedError):
            _ = config.current


def test_a_cancelled_update_is_made_whole_or_not(server: ServerProcess, prefix: bytes, other: coord.Client) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            config = client.config("/app/", Settings)
            for turns in range(0, 60, 4):
                task = asyncio.create_task(config.update(lambda now: {"level": now.level + 1, "twin": now.twin + 1}))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await config.update(lambda now: {"level": now.level + 1, "twin": now.twin + 1})

    asyncio.run(main())
    with other.config("/app/", Settings) as seen:
        assert seen.current.level == seen.current.twin == len(seen.history()) >= 1


def test_the_default_clients(server: ServerProcess, prefix: bytes) -> None:
    from coord.sync import use_as_default

    with coord.connect(server.endpoint, namespace=prefix) as client, use_as_default(client):
        coord.config("/app/").update(a=1)
        with coord.config("/app/") as config:
            assert config.current == {"a": 1}

    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            with coord.aio.use_as_default(client):
                async with coord.aio.config("/app/", Settings) as config:
                    assert config.current == Settings()

    asyncio.run(main())


def test_a_callback_may_close_it(client: coord.Client) -> None:
    closed = threading.Event()

    def on_change(_: Change[Any]) -> None:
        config.close()
        closed.set()

    config = client.config("/app/", on_change=on_change)
    with config:
        client.put("/app/a", "1")
        assert closed.wait(PATIENCE)
    with pytest.raises(coord.ClosedError):
        _ = config.current


def test_a_callback_on_asyncio_may_close_it(server: ServerProcess, prefix: bytes) -> None:
    ended: list[bool] = []

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), coord.aio.connect(server.endpoint, namespace=prefix) as client:
            done = asyncio.Event()

            async def on_change(_: Change[Any]) -> None:
                await config.close()
                await asyncio.sleep(0)
                ended.append(True)
                done.set()

            config = client.config("/app/", on_change=on_change)
            async with config:
                await client.put("/app/a", "1")
                await done.wait()

    asyncio.run(main())
    assert ended == [True]


def test_nothing_answers() -> None:
    with coord.connect("http://127.0.0.1:1", timeout=0.3) as client:
        config = client.config("/app/")
        for attempt in (config.__enter__, config.history, lambda: config.update(a=1), lambda: config.rollback(1)):
            with pytest.raises((coord.CallTimeout, coord.Unavailable)):
                attempt()
