"""The port over the simulator: the clients' own port code, waiting on the virtual clock.

What a claim, a withdrawal or a wait does is `coord.client.port_base`, the same as in the blocking and the asyncio port;
here is only how one waits (the program is suspended) and how one asks (a message is sent).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from coord.client.inbox import Inbox
from coord.client.mailbox import Listen
from coord.client.port_base import PortBase
from coord.client.watch_actions import WatchSpec
from coord.errors import CallTimeout, ClosedError, Compacted, CoordError, Unavailable
from coord.model import Event, EventKind, RangeResult, TxnResult, WatchBatch
from coord.ops import Delete, Get, Txn
from coord.port import Session

if TYPE_CHECKING:
    from coord.testing.simnet import Message
    from coord.testing.simworld import SimClient, SimWorld

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
        self._hub = SimHub(world, client)
        self._keeping = client

    @property
    def closed(self) -> bool:
        """True once the client is being closed, or its process is gone."""
        return self._client.closing or self._client.crashed

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

    async def _delete(self, key: bytes, deadline: float) -> None:
        await self._ask(partial(self._world.server.txn, Txn(then=(Delete(key),))), deadline, write=True)

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
                raise error
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


class SimWatcher:
    """One watcher: known to the server once its request arrived, then events wait until they are delivered.

    Attributes:
        pending: batches on their way.
        next_revision: what to resume at after the connection or the server was lost.
    """

    __slots__ = ("failure", "inbox", "next_revision", "pending", "registered", "spec", "token")

    def __init__(self, token: int, spec: WatchSpec, inbox: Inbox) -> None:
        self.token = token
        self.spec = spec
        self.inbox = inbox
        self.registered = False
        self.pending: list[WatchBatch] = []
        self.next_revision = spec.from_revision
        self.failure: CoordError | None = None

    def matches(self, event: Event) -> bool:
        """True if the reader wants this event."""
        key, spec = event.item.key, self.spec
        if spec.range_end:
            if key < spec.key or (spec.range_end != b"\0" and key >= spec.range_end):
                return False
        elif key != spec.key:
            return False
        return spec.deletes if event.kind is EventKind.DELETE else spec.puts

    def offer(self, revision: int, events: Sequence[Event]) -> bool:
        """Something was committed; True if it is of interest."""
        wanted = tuple(event for event in events if self.matches(event))
        if wanted:
            self.pending.append(WatchBatch(revision, wanted))
        return bool(wanted)


class SimHub:
    """The watches of one client. See `coord.client.port_base.Hub`."""

    def __init__(self, world: SimWorld, client: SimClient) -> None:
        self._world = world
        self._client = client
        self.watchers: dict[int, SimWatcher] = {}
        self._tokens = 0

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        """Start a watcher; returns its token."""
        self._tokens += 1
        self.watchers[self._tokens] = SimWatcher(self._tokens, spec, inbox)
        return self._tokens

    def drop(self, tokens: Sequence[int]) -> None:
        """End watchers."""
        for token in tokens:
            self.watchers.pop(token, None)

    def consumed(self, token: int, size: int) -> None:
        """Nothing is bounded here."""

    def lag(self) -> float:
        """The virtual server always gives signs of life."""
        return 0.0

    def trouble(self) -> CoordError | None:
        """Nothing stays wrong here."""
        return None

    # --- what the world does with them

    def register(self, watcher: SimWatcher) -> None:
        """The request reaches the server: everything from its revision on is on its way."""
        server = self._world.server
        watcher.registered = True
        since = watcher.next_revision or server.machine.revision + 1
        if since < server.machine.compact_revision:
            watcher.failure = Compacted("compacted", compact_revision=server.machine.compact_revision)
            return
        watcher.next_revision = since
        for revision, events in server.history:
            if revision >= since:
                watcher.offer(revision, events)

    def deliver(self, watcher: SimWatcher) -> None:
        """The next batch, or the failure, reaches the reader."""
        if watcher.pending:
            batch = watcher.pending.pop(0)
            watcher.next_revision = batch.revision + 1
            watcher.inbox.push(watcher.token, batch)
        elif watcher.failure is not None:
            self.watchers.pop(watcher.token, None)
            watcher.inbox.fail(watcher.failure)

    def disconnect(self) -> None:
        """The stream is lost; every watcher is asked for again from where it was."""
        for watcher in self.watchers.values():
            watcher.registered = False
            watcher.pending.clear()
