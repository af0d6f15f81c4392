"""A thread for work that waits for the disk, so that the loop does not.

Work is one large C call each time (`writev` and `fdatasync`, an LMDB commit): a Python loop in here would take the
interpreter lock from the server's loop in slices.

Both sides are woken through an eventfd. Writing to one lets go of the interpreter lock, so whoever wakes gets it at
once; uvloop's `call_soon_threadsafe` and a queue's lock keep it while they wake the other side, and that made a
hand-over three times as long as it had to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Done = Callable[[Any, BaseException | None], None]


class Worker:
    """Runs work in order on a thread of its own and reports each result on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._jobs: deque[tuple[Callable[[], Any], Done] | None] = deque()
        self._results: deque[tuple[Done, Any, BaseException | None]] = deque()
        self._asked = os.eventfd(0)
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add_reader(self._told, self._report)
        # A daemon: when the server dies of a fatal error nothing may wait for a disk that does not answer.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], done: Done) -> None:
        """Run `work`, then call `done(result, exception)` on the loop; one of the two is None."""
        self._jobs.append((work, done))
        os.eventfd_write(self._asked, 1)

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
        """End the thread after what is queued, and wait for it. The loop's next turn reports what it did last."""
        self._jobs.append(None)
        os.eventfd_write(self._asked, 1)
        self._thread.join()
        self._loop.remove_reader(self._told)
        os.close(self._told)
        os.close(self._asked)
        while self._results:
            done, result, failure = self._results.popleft()
            self._loop.call_soon(done, result, failure)

    def _run(self) -> None:
        while True:
            os.eventfd_read(self._asked)
            while self._jobs:
                job = self._jobs.popleft()
                if job is None:
                    return
                work, done = job
                result, failure = None, None
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - the loop decides what it means; a thread that dies says nothing
                    failure = error
                self._results.append((done, result, failure))
                os.eventfd_write(self._told, 1)

    def _report(self) -> None:
        with contextlib.suppress(BlockingIOError):  # already read: a result was found before its wake-up
            os.eventfd_read(self._told)
        try:
            while self._results:
                done, result, failure = self._results.popleft()
                done(result, failure)
        finally:
            if self._results:  # a `done` failed: the loop reports it, and the others have their turn
                os.eventfd_write(self._told, 1)
