"""Drops what compactions marked, in slices on the loop, with requests served between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from coord.server.logs import logger
from coord.server.machine.apply import StateMachine
from coord.server.member.pending import Pending
from coord.server.mvcc.compaction import WAITING
from coord.statuses import STOPPED, Refused

_log = logger(__name__)

SLICE_SECONDS = 0.004
REST_SECONDS = 0.002
"""Between slices others get their turn: this never takes more than two thirds of the loop."""


class Scrubber:
    """Runs the state machine's compaction steps whenever there are any."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        state: StateMachine,
        seal: Callable[[], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """`seal` is called behind each slice, with nothing half done."""
        self._loop = loop
        self._state = state
        self._seal = seal
        self._fatal = fatal
        self._steps: Iterator[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[int, Pending[None]]] = []
        self._stopped = False

    def check(self) -> None:
        """Begin if a compaction is marked; called after each slice of applied entries."""
        if self._steps is None and not self._stopped and self._state.compaction_pending:
            _log.info("started compaction", revision=self._state.compact_revision)
            self._steps = self._state.compaction_steps()
            self._timer = self._loop.call_later(0, self._slice)

    def scrubbed(self, revision: int) -> Pending[None]:
        """Done when everything that a compaction at `revision` drops is gone; fails with STOPPED at a stop before."""
        pending: Pending[None] = Pending()
        self._waiting.append((revision, pending))
        self._release()
        if self._stopped:
            self._give_up()
        return pending

    def stop(self) -> None:
        """Give up; the rest is done after the next start."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._steps = None
        self._give_up()

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, pending in waiting:
            pending.fail(Refused(STOPPED))

    def _slice(self) -> None:
        steps = self._steps
        if steps is None:
            return
        until = time.monotonic() + SLICE_SECONDS
        try:
            while time.monotonic() < until:
                step = next(steps, None)
                if step is None:
                    self._steps = None
                if step is None or step is WAITING:
                    break
            self._seal()
        except Exception as error:  # noqa: BLE001 - a store that is half scrubbed in memory must not go on
            self._fatal(error)
            return
        if self._steps is not None:
            self._timer = self._loop.call_later(REST_SECONDS, self._slice)
            return
        _log.info("finished scheduled compaction", revision=self._state.scrubbed_revision)
        self._release()
        self.check()

    def _release(self) -> None:
        done = [item for item in self._waiting if item[0] <= self._state.scrubbed_revision]
        self._waiting = [item for item in self._waiting if item[0] > self._state.scrubbed_revision]
        for _, pending in done:
            pending.resolve(None)
