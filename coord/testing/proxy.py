"""A link between clients and a server that fails on order.

It passes bytes on between sockets and knows nothing of what they mean, so what clients see is what they see of a broken
network: silence, or a connection that ends.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from concurrent.futures import Future
from typing import Any, Final

_CHUNK: Final = 1 << 16
_START_SECONDS: Final = 10.0


class Link(enum.Enum):
    """What passes."""

    WHOLE = "everything passes"
    DEAF = "requests pass, answers do not"
    CUT = "nothing passes"


class Proxy:
    """Listens on one Unix socket and passes on to another; on a loop in a thread of its own."""

    def __init__(self, path: str, target: str) -> None:
        """Prepare.

        Args:
            path: socket to listen on, made here.
            target: socket of the server.
        """
        self._path = path
        self._target = target
        self._link = Link.WHOLE
        self._whole = asyncio.Event()  # bound to the loop when it is first waited for
        self._whole.set()
        self._pipes: set[asyncio.StreamWriter] = set()
        self._ready: Future[None] = Future()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="coord-test-proxy", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        self._thread.start()
        self._ready.result(_START_SECONDS)

    def stop(self) -> None:
        """End every connection and the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_START_SECONDS)

    def become(self, link: Link) -> None:
        """Change what passes; bytes that are held back while it is CUT pass once it is WHOLE again."""
        self._call(self._become, link)

    def break_connections(self) -> None:
        """End every connection; clients connect anew."""
        self._call(self._break)

    def _call(self, function: Any, *arguments: Any) -> None:
        done: Future[None] = Future()

        def run() -> None:
            function(*arguments)
            done.set_result(None)

        assert self._loop is not None
        self._loop.call_soon_threadsafe(run)
        done.result(_START_SECONDS)

    def _become(self, link: Link) -> None:
        self._link = link
        if link is Link.CUT:
            self._whole.clear()
        else:
            self._whole.set()

    def _break(self) -> None:
        for writer in self._pipes:
            writer.transport.abort()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits in `start`
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_unix_server(self._connected, self._path)
        self._ready.set_result(None)
        await self._stop.wait()
        server.close()
        self._break()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_unix_connection(self._target)
        except OSError:  # the server is down: so is this connection
            writer.transport.abort()
            return
        self._pipes |= {writer, back_writer}
        try:
            await asyncio.gather(self._pass(reader, back_writer, True), self._pass(back_reader, writer, False))
        finally:
            self._pipes -= {writer, back_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: bool) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._whole.wait()
                if asking or self._link is not Link.DEAF:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass  # whichever side ended, the other one ends below
        finally:
            writer.transport.abort()
