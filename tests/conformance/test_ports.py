"""The port contract over the blocking and the asyncio client, against every server."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from coord.client import calls
from coord.client.blocking_port import BlockingPort
from coord.client.connection_blocking import BlockingConnection
from coord.client.core import Settings
from coord.client.session import Session
from coord.client.urls import Endpoint
from coord.clock import now
from coord.program import run_blocking
from tests.conftest import make_server
from tests.port_contract import PATIENCE, SCENARIOS
from tests.servers import ServerProcess


@pytest.fixture(scope="session")
def ports_server(server_kind: str) -> Iterator[ServerProcess]:
    """A server that the contract may compact; scenarios keep to namespaces of their own."""
    with make_server(server_kind) as server:
        yield server.start()


class ThreadJob:
    """A program in a thread of its own."""

    def __init__(self, program: Coroutine[Any, Any, Any]) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(program,), name="job")
        self._thread.start()

    def _run(self, program: Coroutine[Any, Any, Any]) -> None:
        try:
            self._outcome = [run_blocking(program), None]
        except BaseException as error:
            self._outcome = [None, error]

    async def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the job does not end"
        result, error = self._outcome
        if error is not None:
            raise error
        return result


class BlockingBench:
    def __init__(self, target: str, namespace: bytes) -> None:
        settings = Settings((Endpoint(target),))
        self._connections = [BlockingConnection(settings), BlockingConnection(settings)]
        self.port = BlockingPort(self._connections[0], namespace=namespace)
        self.other = BlockingPort(self._connections[1], namespace=namespace)

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        run_blocking(scenario)

    def spawn(self, program: Coroutine[Any, Any, Any]) -> ThreadJob:
        return ThreadJob(program)

    async def lose(self, session: Session) -> None:
        self.port.keeper.lose(session, "withdrawn")

    async def close(self) -> None:
        self.port.close()
        self._connections[0].close()

    async def compact(self, revision: int) -> None:
        call = calls.compact(revision, physical=True)
        self._connections[1].unary(call.method, call.request, deadline=now() + PATIENCE, write=True)

    def end(self) -> None:
        for port, connection in zip((self.port, self.other), self._connections, strict=True):
            port.close()
            connection.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_blocking_port(name: str, ports_server: ServerProcess, prefix: bytes) -> None:
    bench = BlockingBench(ports_server.target, prefix)
    try:
        bench.run(SCENARIOS[name](bench))
    finally:
        bench.end()
