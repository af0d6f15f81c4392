"""Benches of the two real ports, for scenarios that are written once: ``bench.run(scenario(bench))``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

from coord.client import calls
from coord.client.connection.aio import AsyncConnection
from coord.client.connection.blocking import BlockingConnection
from coord.client.connection.core import Settings
from coord.client.connection.urls import Endpoint
from coord.client.keeper.session import Session
from coord.client.ports.aio import AsyncPort
from coord.client.ports.blocking import BlockingPort
from coord.clock import now
from coord.program import run_blocking

KINDS = ("blocking", "asyncio")
PATIENCE = 7.0
"""Less than `coord.client.ports.mailbox` sleeps at the most, so that a wake-up that was missed is not overlooked."""


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


class TaskJob:
    """A program in a task of its own."""

    def __init__(self, program: Coroutine[Any, Any, Any]) -> None:
        self.task = asyncio.create_task(program)

    async def result(self) -> Any:
        return await asyncio.wait_for(self.task, PATIENCE)


class BlockingBench:
    """Two blocking clients."""

    kind = "blocking"

    def __init__(self, *targets: str, namespace: bytes = b"") -> None:
        settings = Settings(tuple(Endpoint(target) for target in targets))
        self.connections = [BlockingConnection(settings), BlockingConnection(settings)]
        self.port = BlockingPort(self.connections[0], namespace=namespace)
        self.other = BlockingPort(self.connections[1], namespace=namespace)

    def run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        try:
            return run_blocking(scenario)
        finally:
            for port, connection in zip((self.port, self.other), self.connections, strict=True):
                port.close()
                connection.close()

    def spawn(self, program: Coroutine[Any, Any, Any]) -> ThreadJob:
        return ThreadJob(program)

    async def lose(self, session: Session) -> None:
        self.port.keeper.lose(session, "withdrawn")

    async def close(self) -> None:
        self.port.close()
        self.connections[0].close()

    async def compact(self, revision: int) -> None:
        call = calls.compact(revision, physical=True)
        self.connections[1].unary(call.method, call.request, deadline=now() + PATIENCE, write=True)

    async def away(self, work: Any) -> None:
        """Run blocking work (a server's restart) without holding up the client."""
        work()


class AsyncBench:
    """Two asyncio clients on one loop."""

    kind = "asyncio"

    def __init__(self, *targets: str, namespace: bytes = b"") -> None:
        self._settings = Settings(tuple(Endpoint(target) for target in targets))
        self._namespace = namespace

    def run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(self._run(scenario))

    async def _run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        self.connections = [AsyncConnection(self._settings), AsyncConnection(self._settings)]
        self.port = AsyncPort(self.connections[0], namespace=self._namespace)
        self.other = AsyncPort(self.connections[1], namespace=self._namespace)
        try:
            return await scenario
        finally:
            for port, connection in zip((self.port, self.other), self.connections, strict=True):
                await port.close()
                await connection.close()

    def spawn(self, program: Coroutine[Any, Any, Any]) -> TaskJob:
        return TaskJob(program)

    async def lose(self, session: Session) -> None:
        self.port.keeper.lose(session, "withdrawn")

    async def close(self) -> None:
        await self.port.close()
        await self.connections[0].close()

    async def compact(self, revision: int) -> None:
        call = calls.compact(revision, physical=True)
        await self.connections[1].unary(call.method, call.request, deadline=now() + PATIENCE, write=True)

    async def away(self, work: Any) -> None:
        """Run blocking work (a server's restart) without holding up the client."""
        await asyncio.to_thread(work)


Bench = BlockingBench | AsyncBench


def make_bench(kind: str, *targets: str, namespace: bytes = b"") -> Bench:
    """A bench of this kind; its `run` closes the clients."""
    if kind == "blocking":
        return BlockingBench(*targets, namespace=namespace)
    return AsyncBench(*targets, namespace=namespace)


# grpc calls its threads so; one of them consumes the requests of a stream and ends only when they do.
_OURS = ("coord-", "(_run)")


@contextlib.contextmanager
def no_threads_left() -> Iterator[None]:
    """Fail if a thread of coord's, or one that waits for coord, outlives the block."""
    before = set(threading.enumerate())
    yield
    left = [each for each in threading.enumerate() if each not in before and any(part in each.name for part in _OURS)]
    for thread in left:
        if not thread.name.startswith("coord-"):
            thread.join(PATIENCE)
    left = [thread for thread in left if thread.is_alive()]
    assert not left, left
