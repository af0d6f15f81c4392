"""A configuration without threads: the test says when the background program sees something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coord.errors import (
    CallTimeout,
)
from coord.ops import Get
from coord.program import run_blocking
from coord.recipes.config.base import Options
from coord.recipes.config.config import Config
from coord.recipes.config.state import Change
from coord.recipes.config.stored import Place, place_of
from coord.recipes.config.updating import Written
from tests.unit.recipes.direct import DirectPort
from tests.unit.recipes.direct import Place as Server


@dataclass(frozen=True)
class Settings:
    """Levels from 100 on are not valid."""

    level: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if self.level >= 100:
            raise ValueError("level is too large")


class Client(DirectPort):
    """A client whose long-lived programs are kept for the test to step."""

    timeout = 5.0

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(server, number)
        self.programs: list[Callable[..., Any]] = []

    def background(self, program: Any, *, name: str) -> Any:
        self.programs.append(program)
        return self

    def stop(self) -> None:
        """Nothing runs."""


class Stepped(Config[Any]):
    """The background program has its turn before somebody waits for what it sees."""

    def _shows(self, written: Written, deadline: float | None) -> Change[Any]:
        if self._following is not None:
            while catch_up(self):
                pass
        return super()._shows(written, deadline)


def config(client: Client, model: Any = Settings, on_change: Any = None, **options: Any) -> Config[Any]:
    return Stepped(client, "/app", model, Options(**options), on_change=on_change)


def place() -> Place:
    return place_of("/app")


def catch_up(opened: Config[Any], deadline: float = 1.0) -> list[Change[Any]]:
    """What the background program would see now."""
    following: Any = opened._following
    following.follower.move(opened._client.port)
    try:
        changes: list[Change[Any]] = run_blocking(following.follower.next(opened._client.port.now() + deadline))
    except CallTimeout:
        return []
    following.tell()
    return changes


def stored(server: Server) -> dict[str, bytes]:
    return {item.name: item.value for item in server.server.range(Get(b"/app/", b"/app0")).items}
