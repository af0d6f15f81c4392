"""The port over the simulator: the clients' own port code, waiting on the virtual clock.

What a claim, a withdrawal or a wait does is `coord.client.ports.base`, as in the blocking and the asyncio port;
here is only how one waits (the program is suspended) and how one asks (a message is sent).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from coord.client.ports.base import PortBase
from coord.client.ports.mailbox import Bell, Listen
from coord.errors import CallTimeout, ClosedError, CoordError, Unavailable
from coord.model import RangeResult, TxnResult
from coord.ops import Delete, Get, Txn
from coord.port import Session
from coord.testing.sim.watch import SimHub

if TYPE_CHECKING:
    from coord.testing.sim.net import Message
    from coord.testing.sim.world import SimClient, SimWorld

T = TypeVar("T")
PATIENCE = 5.0  # seconds for one request of a call without deadline
RETRY_PAUSE = 0.05


class Waiter:
    """What a suspended program waits for: a post, or an instant."""

    __slots__ = ("posted", "until", "wake")

    def __init__(self, wake: Callable[[], None], until: float | None) -> None:
        self.posted = False
        self.until = until
        self.wake = wake

    def post(self) -> None:
        """Look again."""
        if not self.posted:
            self.posted = True
            self.wake()


@types.coroutine
def _suspend(waiter: Waiter) -> Generator[Waiter, None, None]:
    if not waiter.posted:
        yield waiter
    waiter.posted = False


class SimPort(PortBase):
    """See `coord.port.Port`. Every wait suspends the running program until the world goes on with it."""

    def __init__(self, world: SimWorld, client: SimClient) -> None:
        self._world = world
        self._client = client
        self._hub = SimHub(world.server, partial(world.woken, client))
        self._keeping = client
        self._closing = Bell()

    @property
    def closed(self) -> bool:
        """True once the client is being closed, or its process is gone."""
        return self._client.closing or self._client.crashed

    def ring(self) -> None:
        """The client is being closed."""
        self._closing.ring()

    @property
    def hub(self) -> SimHub:
        """The watches of this client."""
        return self._hub  # type: ignore[return-value]  # the base knows it by its protocol

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._world.clock.now()

    async def _wait(
        self,
        attempt: Callable[[], T | None],
        listen: Listen,
        *,
        until: float | None,
        session: Session | None = None,
    ) -> T | None:
        waiter = Waiter(self._world.waker(), until)
        forget: list[Callable[[], None]] = []
        try:
            while True:
                got = attempt()
                if got is not None:
                    return got
                self._check(session)
                if until is not None and self.now() >= until:
                    return None
                if not forget:
                    forget.append(listen(waiter.post))
                    if session is not None:
                        forget.append(session.on_lost(waiter.post))
                await _suspend(waiter)
        finally:
            for each in forget:
                each()

    def _check(self, session: Session | None) -> None:
        if self.closed:
            raise ClosedError("the client was closed")
        if session is not None:
            session.check()

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        """See `coord.port.Port.range`."""
        result: RangeResult = await self._ask(partial(self._world.server.range, request), deadline, write=False)
        return result

    async def _commit(self, request: Txn, *, deadline: float | None) -> TxnResult:
        ask = partial(self._world.server.txn, request)
        result: TxnResult = await self._ask(ask, deadline, write=request.writes)
        return result

    async def _delete(self, keys: Sequence[bytes], deadline: float) -> None:
        request = Txn(then=tuple(Delete(key) for key in keys))
        await self._ask(partial(self._world.server.txn, request), deadline, write=True)

    async def _ask(self, request: Callable[[], Any], deadline: float | None, *, write: bool) -> Any:
        while True:
            now = self.now()
            if self.closed:
                raise ClosedError("the client was closed")
            if deadline is not None and now >= deadline:
                raise CallTimeout("the deadline passed")
            answer: list[tuple[Any, CoordError | None]] = []
            waiter = Waiter(self._world.waker(), None)
            message = self._client.send(
                request, now + PATIENCE if deadline is None else deadline, write, partial(_settle, answer, waiter)
            )
            while not answer:
                await self._answer(message, waiter)
            result, error = answer[0]
            if error is None:
                return result
            if write or not isinstance(error, Unavailable):
                try:
                    raise error
                finally:
                    # Its traceback knows this frame, and would keep the caller's things from being collected.
                    del error
                    answer.clear()
            # A read that was lost is asked again, as the clients do.
            await self.sleep(until=now + RETRY_PAUSE if deadline is None else min(deadline, now + RETRY_PAUSE))

    async def _answer(self, message: Message, waiter: Waiter) -> None:
        try:
            await _suspend(waiter)
        except BaseException:
            self._world.net.abandon(message)
            raise


def _settle(answer: list[tuple[Any, CoordError | None]], waiter: Waiter, result: Any, error: CoordError | None) -> None:
    answer.append((result, error))
    waiter.post()
