"""Long work in short steps: a generator that yields often, driven by the loop between other things."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

from coord.server.member.pending import Pending
from coord.statuses import STOPPED, Refused

_TURN_SECONDS = 0.003
"""What all such work together may take of one turn of the loop."""


class Turns:
    """Drives the sliced work of one loop: one step of each in turn, and all of them for a few milliseconds at a time.

    With a timer for each, fifty long reads made every turn of the loop, and so every write, 150 ms long.
    """

    def __init__(self) -> None:
        self._work: deque[Sliced] = deque()
        self._planned = False
        self._stopped = False

    def add(self, work: Sliced) -> None:
        """Begin with `work` when its turn comes."""
        self._work.append(work)
        if self._stopped:
            self.stop()
        else:
            self._plan()

    def stop(self) -> None:
        """Go on with nothing, now or later: what is read may be half of an entry. Those who wait get STOPPED."""
        self._stopped = True
        while self._work:
            self._work.popleft().give_up(Refused(STOPPED))

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._planned = False
        until = perf_counter() + _TURN_SECONDS
        while self._work:
            work = self._work.popleft()
            if work.step():
                self._work.append(work)
            if perf_counter() >= until:
                break
        if self._work:
            self._plan()


class Sliced(Pending[Any]):
    """The result of a generator that is run in turn with others of its kind."""

    __slots__ = ("_steps",)

    def __init__(self, turns: Turns, steps: Generator[None, None, Any]) -> None:
        super().__init__()
        self._steps = steps
        turns.add(self)

    def cancel(self) -> None:
        """Give up: nobody waits any more."""
        self.give_up(asyncio.CancelledError())

    def give_up(self, error: BaseException) -> None:
        """End with `error` unless it has ended."""
        if not self.done:
            self._steps.close()
            self.fail(error)

    def step(self) -> bool:
        """Do one step; False if it was the last."""
        if self.done:
            return False
        try:
            next(self._steps)
        except StopIteration as end:
            self.resolve(end.value)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the result
            self.fail(error)
        return not self.done


class Followed(Pending[Any]):
    """The result of a second piece of work that starts when the first is done; giving up reaches the second."""

    __slots__ = ("_second", "_start")

    def __init__(self, first: Pending[Any], start: Callable[[], Any]) -> None:
        super().__init__()
        self._start = start
        self._second: Any = None
        first.on_done(self._first_done)

    def cancel(self) -> None:
        """Give up: nobody waits any more."""
        if self._second is not None:
            cancel(self._second)
        self.fail(asyncio.CancelledError())

    def _first_done(self, first: Pending[Any]) -> None:
        if self.done:
            return
        if first.error is not None:
            self.fail(first.error)
            return
        try:
            self._second = self._start()
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(error)
            return
        if isinstance(self._second, Pending):
            self._second.on_done(self._second_done)
        else:
            self.resolve(self._second)

    def _second_done(self, second: Pending[Any]) -> None:
        if second.error is not None:
            self.fail(second.error)
        else:
            self.resolve(second.result())


def after(first: Pending[Any] | None, start: Callable[[], Any]) -> Any:
    """`start()` at once, or a pending for it if there is something to wait for first."""
    return start() if first is None else Followed(first, start)


def cancel(answer: Any) -> None:
    """Tell work that can be given up that its caller left; what is proposed goes on."""
    if isinstance(answer, (Sliced, Followed)):
        answer.cancel()
