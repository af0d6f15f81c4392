"""A port without network, threads or loop: every request is done at once, and waiting moves the clock.

So programs run on it to their end, blocking and under asyncio alike, and a test says what happens while one waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from coord.client.keeper.duties import Commit, Duty, Grant, Renew, Revoke
from coord.client.keeper.keeping import Keeper
from coord.client.keeper.session import Session as KeptSession
from coord.client.ports.base import PortBase
from coord.client.ports.mailbox import Bell, Listen
from coord.errors import CallTimeout, ClosedError, CoordError
from coord.model import RangeResult, TxnResult
from coord.ops import Delete, Get, Txn
from coord.port import Session
from coord.testing.sim.clock import ManualClock
from coord.testing.sim.server import SimServer
from coord.testing.sim.watch import SimHub

T = TypeVar("T")


class Stuck(AssertionError):
    """A program would wait for ever."""


class DirectHub(SimHub):
    """Watches whose events arrive as soon as somebody looks."""

    def __init__(self, server: SimServer) -> None:
        super().__init__(server, lambda watcher: None)

    def arrive(self) -> None:
        for watcher in list(self.watchers.values()):
            if not watcher.registered:
                self.register(watcher)
            while watcher.under_way:
                self.deliver(watcher)


class Place:
    """A server, a clock, and the clients made here."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.server = SimServer(self.clock.now)
        self.clients: list[DirectPort] = []

    def client(self) -> DirectPort:
        made = DirectPort(self, len(self.clients) + 1)
        self.clients.append(made)
        return made


class DirectPort(PortBase):
    """One client's port, which is its own client for the recipes' faces.

    Attributes:
        requests: everything asked of the server by calls, in order.
        troubles: errors that the next requests end with, instead of being done.
        timeout: seconds that a call may take, as a client says it.
        while_waiting: called whenever a program waits, before the clock moves.
    """

    def __init__(self, place: Place, number: int) -> None:
        self.place = place
        self.requests: list[Any] = []
        self.timeout: float | None = 5.0
        self.troubles: list[CoordError] = []
        self.while_waiting: list[Callable[[], object]] = []
        self.reachable = True
        self._hub = DirectHub(place.server)
        self._keeper = Keeper(wake=_nobody, clock=place.clock.now, lease_ids=itertools.count(number << 16).__next__)
        self._keeping = self
        self._closing = Bell()

    @property
    def port(self) -> DirectPort:
        return self

    @property
    def machine(self) -> Keeper:
        return self._keeper

    @property
    def closed(self) -> bool:
        return False

    @property
    def hub(self) -> DirectHub:
        return self._hub  # type: ignore[return-value]  # the base knows it by its protocol

    def now(self) -> float:
        return self.place.clock.now()

    def keep(self) -> None:
        """One turn of the keeper, everything answered at once."""
        for _ in range(10):
            duties = self._keeper.poll(self.now())
            if not duties:
                return
            for duty in duties:
                self._answer(duty)

    def _answer(self, duty: Duty) -> None:
        result: Any = None
        error: CoordError | None = None
        try:
            if not self.reachable:
                raise CallTimeout("cut off")
            result = self._do(duty)
        except CoordError as trouble:
            error = trouble
        self._keeper.on_done(duty, result, error, self.now())

    def _do(self, duty: Duty) -> Any:
        server = self.place.server
        match duty:
            case Grant():
                return server.grant(duty.lease, duty.ttl)
            case Renew():
                return server.renew(duty.lease)
            case Revoke():
                return server.revoke(duty.lease)
            case Commit():
                return server.txn(duty.request)
        raise AssertionError(duty)

    def lose(self) -> None:
        """Have every session of this client found lost."""
        for session in self.sessions():
            self._keeper.lose(session, "unreachable")
        self.keep()

    def sessions(self) -> list[KeptSession]:
        return list(self._keeper._sessions)

    def background(self, program: Any, *, name: str) -> Any:
        raise AssertionError(f"{name}: nothing runs in the background here")

    # --- what a port brings

    async def _wait(
        self,
        attempt: Callable[[], T | None],
        listen: Listen,
        *,
        until: float | None,
        session: Session | None = None,
    ) -> T | None:
        forget = listen(_nobody)
        try:
            for _ in range(50):
                self.keep()
                self.hub.arrive()
                got = attempt()
                if got is not None:
                    return got
                if session is not None:
                    session.check()
                if until is not None and self.now() >= until:
                    return None
                self._go_on(until)
            raise Stuck("a program waits for ever")
        finally:
            forget()

    def _go_on(self, until: float | None) -> None:
        if self.while_waiting:
            self.while_waiting.pop(0)()
        elif until is not None:
            wake = self._keeper.next_wake()
            self.place.clock.move_to(until if wake is None else max(self.now(), min(until, wake)))

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        self._begin(request, deadline)
        return self.place.server.range(request)

    async def _commit(self, request: Txn, *, deadline: float | None) -> TxnResult:
        self._begin(request, deadline)
        return self.place.server.txn(request)

    async def _delete(self, keys: Sequence[bytes], deadline: float) -> None:
        request = Txn(then=tuple(Delete(key) for key in keys))
        self._begin(request, deadline)
        self.place.server.txn(request)

    def _begin(self, request: Any, deadline: float | None) -> None:
        self.requests.append(request)
        if self.closed:
            raise ClosedError("closed")
        if deadline is not None and self.now() >= deadline:
            raise CallTimeout("too late")
        if self.troubles:
            raise self.troubles.pop(0)


def _nobody() -> None:
    """Whom the keeper wakes: every wait drives it anyway."""
