"""Every fault at every step: one plain run is repeated with one thing going wrong at its first step, its second, ...

Sampling finds what is likely; a sweep leaves no position out. Each case is told by its name: fault, client, step, and
when a request that was given up arrives (0 at once, 1 never, 2 in the last moment, 3 some time later).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from coord.testing.sim.choices import Choices, FirstChoices
from coord.testing.sim.net import Stage
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.world import SimClient, SimWorld

Make = Callable[[Choices], Scenario]

LATENESS: Final = range(4)
GIVES_UP: Final = "cancel", "cancel twice", "lost answer", "late request", "close", "cut", "restart"
"""Faults after which requests may arrive late, so that their lateness matters."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a sweep."""

    fault: str
    client: int
    step: int
    lateness: int

    def __str__(self) -> str:
        return f"{self.fault} of client {self.client} at step {self.step}, lateness {self.lateness}"


def _cancel(world: SimWorld, client: SimClient) -> None:
    for program in client.programs:
        if not program.over:
            world.cancel(program)


def _break(stage: Stage, world: SimWorld, client: SimClient) -> None:
    for message in list(world.net.messages):
        if message.client == client.index and message.stage is stage and not message.late:
            world.net.break_off(message)


def _cut(world: SimWorld, client: SimClient) -> None:
    client.cut_until = world.clock.now() + world.ttl * 0.7


def _cut_long(world: SimWorld, client: SimClient) -> None:
    client.cut_until = world.clock.now() + world.ttl * 2


def _stop(world: SimWorld, client: SimClient) -> None:
    client.stopped_until = world.clock.now() + world.ttl * 1.5


FAULTS: Final[dict[str, Callable[[SimWorld, SimClient], None]]] = {
    "cancel": _cancel,
    "cancel twice": _cancel,
    "lost answer": partial(_break, Stage.ANSWER),
    "late request": partial(_break, Stage.REQUEST),
    "crash": lambda world, client: client.crash(),
    "close": lambda world, client: client.close(),
    "cut": _cut,
    "long cut": _cut_long,
    "stop": _stop,
    "revoke": lambda world, client: world.revoke(client),
    "restart": lambda world, client: world.restart(),
    "compact": lambda world, client: world.server.compact(),
}


def scenario(case: Case, make: Make) -> Scenario:
    """The run of one case, not started."""
    made = make(FirstChoices(case.lateness))
    world = made.world
    steps = {case.step, case.step + 2} if case.fault == "cancel twice" else {case.step}

    def interfere(step: int) -> None:
        client = world.clients[case.client]
        if step in steps and not client.crashed:
            FAULTS[case.fault](world, client)

    world.interfere = interfere
    return made


def cases(make: Make) -> Iterator[Case]:
    """All cases of what `make` makes."""
    plain = make(FirstChoices())
    clients = len(plain.world.clients)
    plain.run()
    for fault in FAULTS:
        for client in range(clients):
            for step in range(1, plain.world.steps + 1):
                for lateness in LATENESS if fault in GIVES_UP else (0,):
                    yield Case(fault, client, step, lateness)
