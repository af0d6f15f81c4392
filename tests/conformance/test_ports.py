"""The port contract over the blocking and the asyncio client, against every server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benches import KINDS, make_bench, no_threads_left
from tests.conftest import make_server
from tests.port_contract import SCENARIOS
from tests.servers import ServerProcess


@pytest.fixture(scope="session")
def ports_server(server_kind: str) -> Iterator[ServerProcess]:
    """A server that the contract may compact; scenarios keep to namespaces of their own."""
    with make_server(server_kind) as server:
        yield server.start()


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("port", KINDS)
def test_contract(name: str, port: str, ports_server: ServerProcess, prefix: bytes) -> None:
    bench = make_bench(port, ports_server.target, namespace=prefix)
    with no_threads_left():
        bench.run(SCENARIOS[name](bench))
