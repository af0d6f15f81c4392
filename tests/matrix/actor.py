"""One process of the matrix: ``python -m tests.matrix.actor RECIPE ROLE FACE ENDPOINT NAME``."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

import coord
from coord.program import run_blocking
from tests.matrix.stories import STORIES


class BlockingStage:
    """Everything returns at once, so that a role runs in the main thread, where an interrupt arrives."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    async def do(self, call: Any) -> Any:
        return call

    def say(self, text: str) -> None:
        print(text, flush=True)

    async def told(self) -> str:
        return sys.stdin.readline().strip()


class AsyncStage(BlockingStage):
    """The same on an event loop."""

    async def do(self, call: Any) -> Any:
        return await call if inspect.isawaitable(call) else call

    async def told(self) -> str:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            return (await reader.readline()).decode().strip()
        finally:
            transport.pause_reading()


def main(recipe: str, role: str, face: str, endpoint: str, name: str) -> None:
    play: Any = STORIES[recipe].roles[role]
    if face == "blocking":
        with coord.connect(endpoint, timeout=20) as client:
            run_blocking(play(BlockingStage(client, name)))
        return

    async def run() -> None:
        async with coord.aio.connect(endpoint, timeout=20) as client:
            await play(AsyncStage(client, name))

    asyncio.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
