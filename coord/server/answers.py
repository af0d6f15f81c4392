"""Long work in short steps: a generator that yields often, driven by the loop between other things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

from coord.server.pending import Pending

# One turn of the loop for such work. Several may run at the same time, and no turn may take 10 ms in all.
_TURN_SECONDS = 0.003


class Sliced(Pending[Any]):
    """The result of a generator that is run a few milliseconds at a time."""

    __slots__ = ("_loop", "_steps")

    def __init__(self, loop: asyncio.AbstractEventLoop, steps: Generator[None, None, Any]) -> None:
        super().__init__()
        self._loop = loop
        self._steps = steps
        self._turn()

    def cancel(self) -> None:
        """Give up: nobody waits any more."""
        if not self.done:
            self._steps.close()
            self.fail(asyncio.CancelledError())

    def _turn(self) -> None:
        if self.done:
            return
        until = perf_counter() + _TURN_SECONDS
        try:
            while perf_counter() < until:
                next(self._steps)
        except StopIteration as end:
            self.resolve(end.value)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the result
            self.fail(error)
        else:
            self._loop.call_soon(self._turn)


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
