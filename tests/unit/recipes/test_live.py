"""What follows for an open picture; the pictures themselves are tested with their recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coord.errors import ClosedError
from coord.program import run_blocking
from coord.recipes.common.live import Following


class Follower:
    """Follows until it is told to do something else."""

    seen = None

    def __init__(self) -> None:
        self.then: Callable[[], object] = str

    def move(self, port: Any) -> None:
        """There is only one."""

    async def next(self, deadline: float | None) -> list[None]:
        self.then()
        raise ClosedError("the watch was closed")

    def close(self) -> None:
        """Nothing is open."""


def test_closing_is_no_failure_of_the_program() -> None:
    """It ends the watch a moment before it stops the program, whose handle then logged an error."""
    follower = Follower()
    following = Following(follower)
    follower.then = following.close
    port: Any = None
    run_blocking(following.run(port))
    with pytest.raises(ClosedError):
        following.check()


def test_a_watch_that_others_closed_is_one() -> None:
    following = Following(Follower())
    port: Any = None
    with pytest.raises(ClosedError):
        run_blocking(following.run(port))
