"""Long-lived programs of a client: a named thread each in blocking use, a task each on asyncio.

A program is a function of a port: ``async def follow(port): …``. It is owned by its client and ends with it; what it
fails with stands on its handle and in the log, never only in a thread nobody watches.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from coord.client.ports.base import PortBase
from coord.client.ports.blocking import BlockingPort
from coord.client.ports.mailbox import Bell
from coord.errors import CallTimeout, ClosedError
from coord.port import Port
from coord.program import run_blocking

logger = logging.getLogger("coord.background")

STOP_SECONDS: Final = 2.0
"""What closing waits for programs to clean up behind themselves."""

Program = Callable[[Port], Coroutine[Any, Any, None]]


class ThreadHandle:
    """A program that runs in a thread of its own."""

    def __init__(self, port: BlockingPort, program: Program, name: str) -> None:
        self.name = name
        self._stop = Bell()
        self._error: BaseException | None = None
        scoped = port.scoped(self._stop)
        self._thread = threading.Thread(target=self._run, args=(program, scoped), name=f"coord-{name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Background {self.name!r} {_state(self.running, self._error)}>"

    @property
    def running(self) -> bool:
        """True until the program has ended."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What it failed with; None while it runs, and if it ended by itself or was stopped."""
        return self._error

    def stop(self, *, timeout: float | None = STOP_SECONDS) -> bool:
        """Have the program end: what it waits for raises ClosedError. True if it has ended within `timeout` seconds."""
        self._stop.ring()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait(self, *, timeout: float | None = None) -> None:
        """Wait for the program's end.

        Raises:
            CallTimeout: it goes on.
            BaseException: what it failed with.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise CallTimeout(f"the background program {self.name!r} has not ended")
        if self._error is not None:
            raise self._error

    def _run(self, program: Program, port: Port) -> None:
        try:
            run_blocking(program(port))
        except ClosedError as error:
            if not self._stop.rung and not port_closed(port):
                self._failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the handle reports it
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._error = error
        logger.error("the background program %r failed", self.name, exc_info=error)


class ThreadPrograms:
    """The background programs of one blocking client."""

    def __init__(self, port: BlockingPort) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._handles: list[ThreadHandle] = []
        self._closed = False

    def start(self, program: Program, *, name: str) -> ThreadHandle:
        """Run `program` in a thread until it ends, is stopped, or the client is closed.

        Raises:
            ClosedError: the client was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the client was closed")
            self._handles = [each for each in self._handles if each.running]
            handle = ThreadHandle(self._port, program, name)
            self._handles.append(handle)
        return handle

    def close(self) -> None:
        """Stop them all, before the port is closed, so that they can clean up; bounded."""
        with self._lock:
            self._closed = True
            handles, self._handles = self._handles, []
        for handle in handles:
            handle._stop.ring()
        deadline = time.monotonic() + STOP_SECONDS
        for handle in handles:
            if not handle.stop(timeout=max(0.0, deadline - time.monotonic())):
                logger.warning("the background program %r has not ended in time", handle.name)


class TaskHandle:
    """A program that runs in a task of its own."""

    def __init__(self, port: Port, program: Program, name: str) -> None:
        self.name = name
        self._port = port
        self._error: BaseException | None = None
        self._stopping = False
        self._task = asyncio.create_task(self._run(program, port), name=f"coord-{name}")

    def __repr__(self) -> str:
        return f"<Background {self.name!r} {_state(self.running, self._error)}>"

    @property
    def running(self) -> bool:
        """True until the program has ended."""
        return not self._task.done()

    @property
    def error(self) -> BaseException | None:
        """What it failed with; None while it runs, and if it ended by itself or was stopped."""
        return self._error

    async def stop(self, *, timeout: float | None = STOP_SECONDS) -> bool:
        """Cancel the program. True if it has ended within `timeout` seconds."""
        self._stopping = True
        self._task.cancel()
        if self._task is not asyncio.current_task():
            await asyncio.wait([self._task], timeout=timeout)
        return self._task.done()

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait for the program's end.

        Raises:
            CallTimeout: it goes on.
            BaseException: what it failed with.
        """
        await asyncio.wait([self._task], timeout=timeout)
        if not self._task.done():
            raise CallTimeout(f"the background program {self.name!r} has not ended")
        if self._error is not None:
            raise self._error

    async def _run(self, program: Program, port: Port) -> None:
        try:
            await program(port)
        except asyncio.CancelledError:
            if not self._stopping:
                logger.warning("the background program %r was cancelled by somebody else", self.name)
            raise
        except ClosedError as error:
            if not self._stopping and not port_closed(port):
                self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the handle reports it
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._error = error
        logger.error("the background program %r failed", self.name, exc_info=error)


class TaskPrograms:
    """The background programs of one asyncio client."""

    def __init__(self, port: PortBase) -> None:
        self._port = port
        self._handles: list[TaskHandle] = []
        self._closed = False

    def start(self, program: Program, *, name: str) -> TaskHandle:
        """Run `program` in a task until it ends, is stopped, or the client is closed.

        Raises:
            ClosedError: the client was closed.
        """
        if self._closed:
            raise ClosedError("the client was closed")
        self._handles = [each for each in self._handles if each.running]
        handle = TaskHandle(self._port, program, name)
        self._handles.append(handle)
        return handle

    async def close(self) -> None:
        """Cancel them all, before the port is closed, so that they can clean up; bounded."""
        self._closed = True
        handles, self._handles = self._handles, []
        if handles:
            stopped = await asyncio.gather(*(handle.stop() for handle in handles))
            for handle, ended in zip(handles, stopped, strict=True):
                if not ended:
                    logger.warning("the background program %r has not ended in time", handle.name)


def port_closed(port: Port) -> bool:
    """True if the port's client was closed: then a program's ClosedError is its proper end."""
    return isinstance(port, PortBase) and port.closed


def _state(running: bool, error: BaseException | None) -> str:
    if running:
        return "running"
    return "ended" if error is None else f"failed: {error!r}"
