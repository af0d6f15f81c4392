"""The port contract over the simulator: what is proven there must hold for the ports that users have."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from coord.port import Session
from coord.testing.sim.choices import Choices, FirstChoices, RandomChoices
from coord.testing.sim.world import Program, SimWorld
from tests.port_contract import SCENARIOS

STEP_LIMIT = 20_000


class SimJob:
    """A program beside the scenario."""

    def __init__(self, bench: SimBench, program: Program) -> None:
        self._bench = bench
        self._program = program

    async def result(self) -> Any:
        while not self._program.over:
            await self._bench.pause()
        if self._program.error is not None:
            raise self._program.error
        return self._program.result


class SimBench:
    """Two simulated clients."""

    def __init__(self, choices: Choices) -> None:
        self.world = SimWorld(choices)
        self._clients = [self.world.add_client() for _ in range(3)]
        self.port = self._clients[0].port
        self.other = self._clients[1].port

    async def pause(self) -> None:
        port = self._clients[2].port
        await port.sleep(until=port.now() + 0.01)

    def run(self, scenario: Coroutine[Any, Any, Any]) -> None:
        main = self._clients[2].start(scenario)
        try:
            while not main.over:
                assert self.world.steps < STEP_LIMIT, "the scenario does not end"
                self.world.step()
        finally:
            self.world.close()
        if main.error is not None:
            raise main.error

    def spawn(self, program: Coroutine[Any, Any, Any]) -> SimJob:
        return SimJob(self, self._clients[0].start(program))

    async def lose(self, session: Session) -> None:
        self.port.keeper.lose(session, "withdrawn")  # type: ignore[arg-type]  # sessions come from this port

    async def close(self) -> None:
        self._clients[0].close()
        while not self.port.keeper.closed:
            await self.pause()

    async def compact(self, revision: int) -> None:
        self.world.server.compact(revision)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3, 4])
def test_contract(name: str, seed: int | None) -> None:
    bench = SimBench(FirstChoices() if seed is None else RandomChoices(seed))
    bench.run(SCENARIOS[name](bench))
