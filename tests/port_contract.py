"""What every port must do, as scenarios that run over any of them: blocking, asyncio, simulated.

A test module makes a bench for its port (see `Bench`) and runs each scenario with it::

    @pytest.mark.parametrize("name", SCENARIOS)
    def test_contract(name, bench):
        bench.run(SCENARIOS[name](bench))

Scenarios await nothing but ports, jobs and the bench, so they run without a loop over ports that never suspend.
"""

from __future__ import annotations

from tests import port_scenarios_ownership
from tests.port_scenarios import SCENARIOS, Bench, Job, Scenario

assert port_scenarios_ownership.SCENARIOS is SCENARIOS  # its scenarios are entered by importing it

__all__ = ["SCENARIOS", "Bench", "Job", "Scenario"]
