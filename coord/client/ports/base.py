"""What the blocking and the asyncio port share: all of the port but how one waits and how one asks the server.

Everything here is written with ``await`` on `Waits` and `Asks` only. In the blocking port those never suspend, so the
same code runs in a caller's thread and on a loop.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from coord import clock
from coord.client.keeper.declaring import Declaration, Stage
from coord.client.keeper.keeping import Keeper, Outcome
from coord.client.keeper.ledger import Ticket
from coord.client.keeper.session import Session
from coord.client.ports.mailbox import Bell, Listen, Post
from coord.client.watch.actions import WatchSpec, weight
from coord.client.watch.inbox import Inbox
from coord.errors import (
    CallTimeout,
    ClosedError,
    CoordError,
    HistoryLost,
    LeaseNotFound,
    OutcomeUnknown,
)
from coord.model import RangeResult, TxnResult, WatchBatch
from coord.ops import Get, Txn
from coord.port import Session as AnySession
from coord.port import WatchTarget

T = TypeVar("T")

CLEANUP_SECONDS = 1.0
"""What a caller that gives up spends on its own cleanup before the keeper takes over."""


class Hub(Protocol):
    """The watch shell of a client: one stream, many watchers. Any thread (blocking) or the loop (asyncio)."""

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        """Start a watcher; returns its token."""
        ...

    def drop(self, tokens: Sequence[int]) -> None:
        """End watchers; callable from a garbage collection."""
        ...

    def consumed(self, token: int, size: int) -> None:
        """The reader took a batch of this weight."""
        ...

    def lag(self) -> float:
        """Seconds since the server last gave a sign of life."""
        ...

    def trouble(self) -> CoordError | None:
        """Why the stream is not open, for the error of who gives up waiting."""
        ...


class Keeping(Protocol):
    """The keeper thread as its client sees it."""

    @property
    def machine(self) -> Keeper:
        """The keeper, with its thread running from now on."""
        ...


class PortBase:
    """See `coord.port.Port`. Subclasses bring what is named first."""

    _hub: Hub
    _keeping: Keeping
    _closing: Bell

    # --- brought by subclasses

    async def _wait(
        self,
        attempt: Callable[[], T | None],
        listen: Listen,
        *,
        until: float | None,
        session: AnySession | None = None,
    ) -> T | None:
        """Wait until `attempt` returns something; None when `until` passed first.

        Raises:
            LeaseLost: `session` was lost.
            ClosedError: the client was closed.
        """
        raise AssertionError("brought by the subclass")

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        """See `coord.port.Port.range`."""
        raise AssertionError("brought by the subclass")

    async def _commit(self, request: Txn, *, deadline: float | None) -> TxnResult:
        raise AssertionError("brought by the subclass")

    async def _delete(self, keys: Sequence[bytes], deadline: float) -> None:
        """Delete keys whose cleanup was handed to the keeper already; to be shielded from cancellation."""
        raise AssertionError("brought by the subclass")

    # --- the port

    @property
    def closed(self) -> bool:
        """True once the client is being closed."""
        raise AssertionError("brought by the subclass")

    @property
    def keeper(self) -> Keeper:
        """The client's keeper: sessions, tickets and declarations as they stand."""
        return self._keeping.machine

    def now(self) -> float:
        """Seconds on the ownership clock."""
        return clock.now()

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See `coord.port.Port.on_close`."""
        return self._closing.listen(callback)

    async def txn(self, request: Txn, *, deadline: float | None) -> TxnResult:
        """See `coord.port.Port.txn`."""
        return await self._commit(request, deadline=deadline)

    async def sleep(self, *, until: float, session: AnySession | None = None) -> None:
        """See `coord.port.Port.sleep`."""
        await self._wait(_nothing, _no_news, until=until, session=session)

    async def session(self, ttl: float, *, deadline: float | None) -> Session:
        """See `coord.port.Port.session`."""
        keeper = self._keeping.machine
        live = keeper.live(ttl)
        if live is not None:
            return live
        if deadline is not None and self.now() >= deadline:
            raise CallTimeout("the deadline passed before a lease was asked for")
        outcomes: list[Outcome] = []

        def listen(post: Post) -> Callable[[], None]:
            def settled(outcome: Outcome) -> None:
                outcomes.append(outcome)
                post()

            return keeper.want(ttl, settled)

        got: Outcome | None = await self._wait(lambda: outcomes[0] if outcomes else None, listen, until=deadline)
        if got is None:
            raise CallTimeout("no lease was granted in time") from keeper.trouble(ttl)
        if isinstance(got, CoordError):
            raise got
        return got

    def ticket(self, session: AnySession, name: bytes) -> Ticket:
        """See `coord.port.Port.ticket`."""
        assert isinstance(session, Session)  # sessions come from this port alone
        return self._keeping.machine.ticket(session, name)

    async def claim(self, ticket: Any, request: Txn, *, deadline: float | None) -> TxnResult:
        """See `coord.port.Port.claim`."""
        keeper = self._keeping.machine
        session: Session = ticket.session
        session.check()
        # No longer than the lease is proven alive: an answer after that could not be used, and a renewal meanwhile
        # only means that the claim is unknown a little early.
        give_up = session.proven_until
        if deadline is not None:
            give_up = min(give_up, deadline)
        keeper.claiming(ticket, give_up)
        try:
            result = await self._commit(request, deadline=give_up)
        except OutcomeUnknown:
            session.check()
            raise
        except LeaseNotFound as error:
            keeper.answered(ticket)
            keeper.lease_gone(session.lease)
            raise session.loss() from error
        except CallTimeout:
            keeper.answered(ticket)
            session.check()
            raise
        except CoordError:
            keeper.answered(ticket)
            raise
        keeper.answered(ticket)
        session.check()
        return result

    async def withdraw(self, *tickets: Any) -> bool:
        """See `coord.port.Port.withdraw`."""
        keeper = self._keeping.machine
        sent = self.now()
        leaving = [ticket for ticket in tickets if keeper.leave(ticket, sent + CLEANUP_SECONDS)]
        if not leaving:
            return True
        try:
            await self._delete([ticket.key for ticket in leaving], sent + CLEANUP_SECONDS)
        except CoordError as error:
            if isinstance(error, HistoryLost):
                keeper.lose_all("history")
            return False
        for ticket in leaving:
            keeper.deleted(ticket, sent)
        return True

    def hold(self, ticket: Any, guard: object) -> None:
        """See `coord.port.Port.hold`."""
        self._keeping.machine.hold(ticket, guard)

    def limit(self, ticket: Any, until: float, over: Callable[[], None]) -> bool:
        """See `coord.port.Port.limit`."""
        return self._keeping.machine.limit(ticket, until, over)

    def spent(self, ticket: Any, *, sent: float) -> None:
        """See `coord.port.Port.spent`."""
        keeper = self._keeping.machine
        if keeper.leave(ticket, self.now() + CLEANUP_SECONDS):
            keeper.deleted(ticket, sent)

    def watch(self, targets: Sequence[WatchTarget], *, from_revision: int) -> Watching:
        """See `coord.port.Port.watch`."""
        specs = [
            WatchSpec(target.key, target.range_end, from_revision, target.puts, target.deletes) for target in targets
        ]
        return self.watching(specs)

    def watching(self, specs: Sequence[WatchSpec]) -> Watching:
        """Like `watch`, with everything that can be said of a watcher."""
        return Watching(self, self._hub, specs)

    def declare(self, key: bytes, value: bytes, *, ttl: float) -> Declared:
        """See `coord.port.Port.declare`."""
        return Declared(self, self._keeping.machine.declare(key, value, ttl))


class Watching:
    """See `coord.port.Watching`."""

    def __init__(self, port: PortBase, hub: Hub, specs: Sequence[WatchSpec]) -> None:
        self._port = port
        self._hub = hub
        self._inbox = Inbox()
        self._tokens: list[int] = []
        # Before the first watcher: an interrupt in the middle leaves those that were added to the collector.
        self._finalizer = weakref.finalize(self, _drop, hub, self._tokens)
        for spec in specs:
            self._tokens.append(hub.add(spec, self._inbox))
        self._count = len(specs)

    async def next(self, *, deadline: float | None, session: AnySession | None = None) -> WatchBatch:
        """See `coord.port.Watching.next`."""
        # In Port._wait an interrupt or cancellation cannot come between taking the batch and returning it.
        got = await self._port._wait(self._inbox.take, self._inbox.listen, until=deadline, session=session)
        if got is None:
            raise CallTimeout("nothing happened in time") from self._hub.trouble()
        token, batch = got
        self._hub.consumed(token, weight(batch))
        return batch

    async def confirmed(self, *, deadline: float | None) -> int:
        """Wait until the server has all watchers; everything after the returned revision will be delivered.

        Raises:
            CallTimeout: the deadline passed; the watch goes on trying.
            CoordError: the watch ended.
        """
        got = await self._port._wait(lambda: self._inbox.confirmed(self._count), self._inbox.listen, until=deadline)
        if got is None:
            raise CallTimeout("the server did not confirm the watch in time") from self._hub.trouble()
        return got

    def close(self) -> None:
        """See `coord.port.Watching.close`."""
        self._finalizer()
        self._inbox.fail(ClosedError("the watch was closed"))

    @property
    def lag(self) -> float:
        """Seconds since the server last gave a sign of life."""
        return self._hub.lag()


def _drop(hub: Hub, tokens: list[int]) -> None:
    hub.drop(tokens)


class Declared:
    """See `coord.port.Declared`."""

    def __init__(self, port: PortBase, declaration: Declaration) -> None:
        self._port = port
        self._declaration = declaration

    @property
    def key(self) -> bytes:
        """The key, without the client's namespace."""
        return self._declaration.key

    async def settled(self, *, deadline: float | None) -> int:
        """See `coord.port.Declared.settled`."""
        got = await self._port._wait(self._lease, self._declaration.subscribe, until=deadline)
        if got is None:
            trouble = self._declaration.trouble or self._port.keeper.trouble(self._declaration.ttl)
            raise CallTimeout("the key was not stored in time; the keeper goes on trying") from trouble
        return got

    def _lease(self) -> int | None:
        if self._declaration.error is not None:
            raise self._declaration.error
        return self._declaration.lease

    def update(self, value: bytes) -> None:
        """See `coord.port.Declared.update`."""
        self._declaration.update(value)

    async def withdraw(self, farewell: bytes | None = None) -> None:
        """See `coord.port.Declared.withdraw`."""
        # Handed to the keeper before anything can interrupt; what follows only waits for it.
        self._declaration.withdraw(farewell)
        try:
            await self._port._wait(
                lambda: True if self._declaration.stage is Stage.ENDED else None,
                self._declaration.subscribe,
                until=self._port.now() + CLEANUP_SECONDS,
            )
        except ClosedError:
            return  # Close revokes the lease, and the key goes with it.


def _nothing() -> None:
    return None


def _no_news(_post: Post) -> Callable[[], None]:
    return _nothing
