"""What a story of the matrix is made of.

A **role** is what one process does. It is written once, as a coroutine that awaits nothing but its stage: on the
blocking face the stage's verbs return at once, so the role runs without an event loop. So `await stage.do(call)` is the
recipe's blocking call on one face and its awaited one on the other.

A **plot** is what the test does with the processes: one method for each situation.
"""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import coord
from tests.process.actors import Actor
from tests.servers import ServerProcess
from tests.waiting import until

FACES: Final = ("blocking", "asyncio")
SITUATIONS: Final = ("normal", "holder killed", "server restarted", "cancelled")
TTL: Final = float(os.environ.get("COORD_MATRIX_TTL", "60"))
"""Seconds that roles ask for: so many that a server that starts again on a busy machine is in time."""

SHORT_TTL: Final = "3"
"""Where a killed holder has to be noticed."""


class Stage(Protocol):
    """What a role sees of its process."""

    client: Any
    name: str

    async def do(self, call: Any) -> Any:
        """The result of a call of either face."""
        ...

    def say(self, text: str) -> None:
        """Tell the test."""
        ...

    async def told(self) -> str:
        """Wait for the test's next word."""
        ...


Role = Callable[[Stage], Awaitable[None]]


class Cast:
    """The processes of one test, the server they use, and a client that looks."""

    def __init__(
        self, recipe: str, face: str, situation: str, server: ServerProcess, name: str, stack: ExitStack
    ) -> None:
        self._environment = {"COORD_MATRIX_TTL": SHORT_TTL} if situation == "holder killed" else {}
        self.recipe = recipe
        self.face = face
        self.server = server
        self.name = name
        self.client = stack.enter_context(coord.connect(server.endpoint, timeout=20))
        self._stack = stack

    def starts(self, role: str) -> Actor:
        """A process that plays `role`."""
        played = (self.recipe, role, self.face, self.server.endpoint, self.name)
        words = (sys.executable, "-W", "ignore", "-m", "tests.matrix.actor", *played)
        return self._stack.enter_context(Actor(*words, environment=self._environment, spoken_to=True))

    def restarts_server(self) -> None:
        """Kill the server and start it again on its data."""
        self.server.kill()
        self.server.start()

    def keys(self, *below: str) -> list[bytes]:
        """The stored keys that begin with one of these; with none given, with the test's name."""
        found = [self.client.range(prefix, prefix=True, keys_only=True) for prefix in below or (self.name,)]
        return [item.key for each in found for item in each.items]

    def until_keys(self, count: int, *below: str) -> None:
        """Wait until that many keys are there."""
        until(lambda: len(self.keys(*below)) == count, f"{count} keys below {below}")


@contextmanager
def cast(recipe: str, face: str, situation: str, server: ServerProcess, name: str) -> Iterator[Cast]:
    """The processes end with the block."""
    with ExitStack() as stack:
        yield Cast(recipe, face, situation, server, name, stack)


class Story(ABC):
    """One recipe in all situations."""

    roles: dict[str, Role]

    @abstractmethod
    def normal(self, cast: Cast) -> None:
        """It does what it is for."""

    @abstractmethod
    def holder_killed(self, cast: Cast) -> None:
        """The process that has it is killed; somebody else goes on."""

    @abstractmethod
    def server_restarted(self, cast: Cast) -> None:
        """The server is killed and started again meanwhile; nobody notices but by the time it took."""

    @abstractmethod
    def cancelled(self, cast: Cast) -> None:
        """Somebody who waits is interrupted; nothing of it is left."""


class Exclusive(Story):
    """What one has while others wait: locks, leadership.

    Its role says "have" once it has it and gives it back when it is told to.

    Args:
        have: the role.
        waiting: how many keys are below the name while one has it and one waits.
        rest: how many keys stay when nobody wants it any more.
    """

    def __init__(self, have: Role, *, waiting: int = 2, rest: int = 0) -> None:
        self.roles = {"have": have}
        self._waiting = waiting
        self._rest = rest

    def _one_has_one_waits(self, cast: Cast) -> tuple[Actor, Actor]:
        first = cast.starts("have")
        first.wait_for("have")
        second = cast.starts("have")
        cast.until_keys(self._waiting)
        assert second.said("have") is None
        return first, second

    def _gives_back(self, actor: Actor) -> None:
        actor.tell("go")
        assert actor.end() == 0, actor.text

    def _takes_turn(self, cast: Cast, actor: Actor) -> None:
        actor.wait_for("have")
        self._gives_back(actor)
        cast.until_keys(self._rest)

    def normal(self, cast: Cast) -> None:
        """They take turns."""
        first, second = self._one_has_one_waits(cast)
        self._gives_back(first)
        self._takes_turn(cast, second)

    def holder_killed(self, cast: Cast) -> None:
        """The one who waits has it next."""
        first, second = self._one_has_one_waits(cast)
        first.kill()
        self._takes_turn(cast, second)

    def server_restarted(self, cast: Cast) -> None:
        """Who has it keeps it, who waits gets it afterwards."""
        first, second = self._one_has_one_waits(cast)
        cast.restarts_server()
        assert second.said("have") is None, "it was given to two"
        self._gives_back(first)
        self._takes_turn(cast, second)

    def cancelled(self, cast: Cast) -> None:
        """Who is interrupted while it waits leaves the queue at once."""
        first, second = self._one_has_one_waits(cast)
        second.signal(signal.SIGINT)
        assert second.end() != 0, second.text
        cast.until_keys(self._waiting - 1)
        third = cast.starts("have")
        self._gives_back(first)
        self._takes_turn(cast, third)
