"""What every simulated recipe has in common: it runs, it ends, it settles, and nothing is left behind."""

from __future__ import annotations

from typing import Any, ClassVar

from coord.errors import ClosedError
from coord.testing.sim.choices import Choices
from coord.testing.sim.world import Faults, Program, SimCancelled, SimWorld, Violation


class Scenario:
    """One run of a recipe: clients and their programs are added in the subclass's constructor.

    Attributes:
        world: what it runs in.
        entered: what was achieved, one entry each: entries, deliveries, terms.
        timeouts: how often somebody gave up waiting.
    """

    step_limit: ClassVar[int] = 6000
    settle_seconds: ClassVar[float] = 60.0

    def __init__(self, choices: Choices, *, faults: Faults | None = None, budget: int = 0) -> None:
        self.world = SimWorld(choices, faults=faults, budget=budget)
        self.world.waits_for_ever = self.waits_for_ever
        self.entered: list[Any] = []
        self.timeouts = 0

    # --- what a recipe says

    @property
    def left_behind(self) -> list[bytes]:
        """Keys that must not be there once a run has settled."""
        return []

    def check(self) -> None:
        """What must be true after every step.

        Raises:
            Violation: it is not.
        """

    def finish(self) -> None:
        """What must be true once nothing can change any more.

        Raises:
            Violation: it is not.
        """

    def waits_for_ever(self, program: Program) -> bool:  # a subclass may look at it
        """True for a program that never ends by itself: a follower, say. It is not waited for."""
        return False

    # --- running

    def run(self) -> None:
        """Let it happen, then let it settle.

        Raises:
            Violation: a promise was broken.
        """
        try:
            self._run()
        finally:
            self.world.close()

    def _run(self) -> None:
        world = self.world
        ending = [program for program in world.programs if not self.waits_for_ever(program)]
        while not all(program.over for program in ending):
            if world.steps > self.step_limit:
                raise Violation(f"programs do not end: {self.left()}")
            self._step()
        world.budget = 0
        until = world.clock.now() + self.settle_seconds
        while not self.settled():
            if world.at_rest or world.clock.now() > until:
                raise Violation(f"does not settle: {self.left()}")
            self._step()
        if self.left_behind:
            raise Violation(f"keys left behind: {self.left_behind}")
        self.finish()

    def _step(self) -> None:
        self.world.step()
        self.check()
        for program in self.world.programs:
            ended = (SimCancelled, ClosedError) if program.client.closing else SimCancelled
            if isinstance(program.error, Violation):
                raise program.error
            if program.error is not None and not isinstance(program.error, ended):
                raise Violation(f"a program ended with {program.error!r}") from program.error

    def settled(self) -> bool:
        """Nothing can change any more: no request under way, no ticket to withdraw, no lease of a process that is gone.

        Followers and declared keys need more; see the registry.
        """
        world = self.world
        if any(message.late or message.write for message in world.net.messages):
            return False
        alive = [client for client in world.clients if not client.crashed and not client.closing]
        if any(client.stopped or client.keeper.tickets for client in alive):
            return False
        dead = {client.index + 1 for client in world.clients if client not in alive}
        return not any(lease >> 32 in dead for lease in world.server.machine.lessor.ids())

    def left(self) -> str:
        """What is still there, for a message."""
        tickets = [ticket for client in self.world.clients for ticket in client.keeper.tickets]
        return f"keys {self.left_behind}, tickets {tickets}, messages {len(self.world.net.messages)}"
