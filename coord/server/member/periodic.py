"""Something done again and again on the loop, without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Periodic:
    """Calls `work` every `seconds` until stopped; the next call is counted from the end of the last.

    An exception of `work` goes to `fail` and ends the repetition: the work is the server's own, so it is a defect.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        work: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._work = work
        self._fail = fail
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._run)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - asyncio would log it and the repetition would end unnoticed
            self._timer = None
            self._fail(error)
            return
        if self._timer is not None:
            self.start()
