"""A thread for work that waits for the disk, so that the loop does not.

Work is one large C call each time (`writev` and `fdatasync`, an LMDB commit): a Python loop in here would take the
interpreter lock from the server's loop in slices.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Done = Callable[[Any, BaseException | None], None]


class Worker:
    """Runs work in order on a thread of its own and reports each result on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._queue: SimpleQueue[tuple[Callable[[], Any], Done] | None] = SimpleQueue()
        # A daemon: when the server dies of a fatal error nothing may wait for a disk that does not answer.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], done: Done) -> None:
        """Run `work`, then call `done(result, exception)` on the loop; one of the two is None."""
        self._queue.put((work, done))

    async def call(self, work: Callable[[], Any]) -> Any:
        """Run `work` after what is queued and return its result.

        Raises:
            Exception: what `work` raised.
        """
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.submit(work, done)
        return await future

    def stop(self) -> None:
        """End the thread after what is queued, and wait for it."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            work, done = job
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - the loop decides what it means; a thread that dies says nothing
                failure = error
            try:
                self._loop.call_soon_threadsafe(done, result, failure)
            except RuntimeError:
                return  # the loop was closed without a stop: nobody is left to be told
