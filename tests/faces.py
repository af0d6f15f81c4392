"""Both clients behind one face, so that a test's body is written once.

face.do(face.client.put("k", "v"))      # runs the coroutine of the asyncio client, passes the blocking result on
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from coord.client.aio import AsyncClient
from coord.client.blocking import BlockingClient

KINDS = ("blocking", "asyncio")


class Face:
    """One kind of client; `client` is typed as the blocking one, whose names both have."""

    def __init__(self, kind: str, endpoints: Any, **options: Any) -> None:
        self.kind = kind
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        self.clients: list[Any] = []
        self.client: Any = self.make(endpoints, **options)

    def make(self, endpoints: Any, **options: Any) -> Any:
        """Another client of the same kind, closed with this one."""
        made: Any = (AsyncClient if self._runner else BlockingClient)(endpoints, **options)
        self.clients.append(made)
        return made

    def do(self, result: Any) -> Any:
        """What a call returns, whichever client it was made with."""
        if self._runner is None:
            return result
        if inspect.isasyncgen(result) or isinstance(result, AsyncIterator):
            return self._runner.run(_collected(result))
        if inspect.isawaitable(result):
            return self._runner.run(_awaited(result))
        return result

    def close(self) -> None:
        for client in self.clients:
            self.do(client.close())
        if self._runner is not None:
            self._runner.close()


async def _awaited(result: Any) -> Any:
    return await result


async def _collected(result: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in result]


@contextmanager
def face(kind: str, endpoints: Any, **options: Any) -> Iterator[Face]:
    """A client of this kind for the length of a with block."""
    made = Face(kind, endpoints, **options)
    try:
        yield made
    finally:
        made.close()
