"""Election of a leader across processes and machines, blocking and for asyncio.

Who stood first leads until it resigns, dies or cannot be reached for `ttl` seconds; then the next one does. Go's
``concurrency.Election`` and ``etcdctl elect`` of the same name take part. Locks and leadership never come back by
themselves; a function that shall run whenever this process leads is given to `Election.run_while_leader`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing, contextmanager
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from coord.errors import LeadershipLost, NotOwner, UsageError
from coord.keys import to_bytes
from coord.model import DEFAULT, LeaseState
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import Background, HasPrograms, client_deadline
from coord.recipes.common.durations import Seconds, Timeout, seconds
from coord.recipes.elections.candidacy import Candidacy, Transition
from coord.recipes.elections.candidate import Candidate, Leader, as_leader, candidates
from coord.recipes.elections.leadership import AsyncLeadership, Leadership
from coord.recipes.elections.observing import Observer
from coord.recipes.ownership.contest import Contest
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Line, Place

P = ParamSpec("P")
R = TypeVar("R")
Value = str | bytes | None


class ElectionBase(Contest):
    """What both faces are."""

    what: ClassVar[str] = "an election"
    _client: HasPrograms

    def _value(self, value: Value) -> bytes:
        return describe_caller(self._client) if value is None else to_bytes(value)

    async def _candidates(self, timeout: Timeout) -> list[Candidate]:
        found = await self._line().contenders(client_deadline(self._client, timeout))
        return candidates(self._key, found)

    def _observer(self) -> Observer:
        return Observer(self._client.port, self._key)

    def _interval(self, interval: Seconds | None) -> float:
        every = self._ttl / 2 if interval is None else seconds(interval, "interval")
        if not every:
            raise UsageError("interval is more than 0 seconds")
        return every


class Election(ElectionBase):
    """The blocking face: ``with coord.election("cron").lead() as leader: ...``.

    One object may be used by many threads, which then stand against each other. It remembers the leadership that was
    won last, for `resign`, `proclaim` and `transfer`.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     election = client.election("cron")
        ...     with election.lead("a") as leader:
        ...         (leader.term > 0, election.leader().text)
        (True, 'a')
    """

    def __init__(
        self,
        client: HasPrograms,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Leadership], object] | None = None,
    ) -> None:
        """Describe the election; nothing is asked of the server yet.

        Args:
            client: whose session stands for it.
            name: what is led.
            ttl: seconds after which a leader that died, or is cut off, leads no more; no limit for its term.
            timeout: seconds that campaigns wait; DEFAULT and None mean for ever, 0 does not wait.
            on_lost: called with the guard, on a thread of its own, when leadership is lost.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._led: Leadership | None = None

    # --- leading

    def campaign(self, value: Value = None, *, timeout: Timeout = DEFAULT) -> Leadership:
        """Stand, wait to lead and return the guard; it leads until it resigns, is lost, or this object is dropped.

        Args:
            value: what candidate and leader say, for everybody to read; None describes this process.
            timeout: as in the constructor; DEFAULT means what was given there.

        Raises:
            LockTimeout: it did not lead in time; it stands no more.
            RequestRefused: the server refuses (permissions, say).
            ClosedError: the client was closed.
        """
        return run_blocking(self._line().take(self._value(value), self._terms(timeout), self._guard(self._client.port)))

    def lead(self, value: Value = None, *, timeout: Timeout = DEFAULT) -> AbstractContextManager[Leadership]:
        """Campaign for the time of a block: ``with election.lead("a") as leader: ...``.

        Leaving it resigns, and raises `LeadershipLost` if leadership was lost before. Arguments as in `campaign`.

        Raises: as `campaign`, when the block is entered.
        """
        return self._block(value, timeout)

    @contextmanager
    def _block(self, value: Value, timeout: Timeout) -> Iterator[Leadership]:
        with self.campaign(value, timeout=timeout) as leader:
            yield leader

    @property
    def leading(self) -> Leadership | None:
        """The guard of the leadership that was won last through this object, if it still leads."""
        led = self._led
        return led if led is not None and led.remaining() > 0 else None

    def proclaim(self, value: str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Say something else as the leader.

        Raises:
            NotOwner: this object leads nothing.
            LeadershipLost, OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._own().proclaim(value, timeout=timeout)

    def resign(self) -> bool:
        """Give up what this object leads; the next candidate leads. False if it leads nothing."""
        led, self._led = self._led, None
        return led is not None and led.resign()

    def transfer(self, to: Candidate | str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Pass leadership on to a candidate; everybody who stands in front of it stands again, behind all others.

        It happens in one step of the store or not at all. Candidates of other clients (Go, etcdctl) do not step behind:
        one in front of the target must leave by itself before the timeout.

        Args:
            to: a candidate, or its key, id or value; of several with this value the one that stands in front.
            timeout: seconds that it may take; DEFAULT is 5, None for ever, 0 does not wait for others to leave.

        Raises:
            NotOwner: this object leads nothing.
            NoCandidate: nobody of that name stands; the leader stays.
            CallTimeout: not in time; the leader stays.
            OutcomeUnknown: leadership was given up, and whether the target ever had it is not known.
            LeadershipLost, RequestRefused, HistoryLost, ClosedError.
        """
        self._own().transfer(to, timeout=timeout)

    def _own(self) -> Leadership:
        if self._led is None:
            raise NotOwner(f"this object does not lead {self.name!r}", name=self.name)
        return self._led

    def _guard(self, port: Port) -> Callable[[Place], Leadership]:
        def won(place: Place) -> Leadership:
            self._led = Leadership(port, self.name, place, self._on_lost)
            return self._led

        return won

    # --- looking

    def candidates(self, *, timeout: Timeout = DEFAULT) -> list[Candidate]:
        """Everybody who stands, the leader first.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._candidates(timeout))

    def leader(self, *, timeout: Timeout = DEFAULT) -> Leader | None:
        """Who leads now, None if nobody does.

        Raises: as `candidates`.
        """
        return next(map(as_leader, self.candidates(timeout=timeout)), None)

    def observe(self) -> Iterator[Leader | None]:
        """Who leads now, then every leader, and None whenever nobody leads: ``for leader in election.observe(): ...``.

        Each change once and in order, what a leader says included; over restarts of the server. If it compacted what
        was not seen yet, what lies between is missing, and the present is told. Goes on for ever.

        Raises:
            RequestRefused: the election may not be read.
            ClosedError: the client was closed.
        """
        with closing(self._observer()) as observer:
            while True:
                yield from run_blocking(observer.next(None))

    # --- working

    def transitions(self, value: Value = None, *, interval: Seconds | None = None) -> Iterator[Transition[Leadership]]:
        """Stand again and again, and report the own role: at first, when it changes, and after each interval.

        The candidate leaves, or resigns, when the iteration ends.

        Args:
            value: as in `campaign`.
            interval: seconds after which it is said that nothing changed; None for half the TTL.

        Raises:
            UsageError: the interval is no duration.
            RequestRefused: the server refuses.
            ClosedError: the client was closed.
        """
        port = self._client.port
        said, every = self._value(value), self._interval(interval)
        return self._reports(Candidacy(port, self._key, said, self._ttl, every, self._guard(port)))

    def _reports(self, candidacy: Candidacy[Leadership]) -> Iterator[Transition[Leadership]]:
        try:
            while True:
                yield run_blocking(candidacy.next())
        finally:
            run_blocking(candidacy.leave())

    def leader_only(self, function: Callable[Concatenate[Leadership, P], R]) -> Callable[P, R]:
        """Decorator: a call waits to lead, runs the function as the leader, resigns and returns what it returned.

        The function gets the guard as its first argument and should look at ``leader.lost``: it is set before another
        can lead. A function that ends after leadership was lost is run again when it is won again.

        Raises: a call raises as `campaign`, and what the function raises.
        """

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            client = self._client
            return self._work(client.port, self._value(None), DEFAULT, lambda led: function(led, *args, **kwargs))

        return call

    def run_while_leader(self, function: Callable[[Leadership], object], *, value: Value = None) -> Background:
        """Run the function in the background whenever this process leads, until it returns while leading.

        It stands until then, whatever happens to the server. The function gets the guard: ``leader.lost`` is set
        before another can lead, when leadership is given up, and when the client or the returned handle is closed; then
        it must return. What it raises ends it and stands on the handle.

        Raises:
            ClosedError: the client was closed.
        """
        said = self._value(value)

        async def program(port: Port) -> None:
            self._work(port, said, None, function)

        return self._client.background(program, name=f"lead {self.name}")

    def _work(self, port: Port, value: bytes, timeout: Timeout, function: Callable[[Leadership], R]) -> R:
        while True:
            line = Line(port, self._key)
            leader = run_blocking(line.take(value, self._terms(timeout), self._guard(port)))
            forget = port.on_close(leader.lost.set)
            try:
                result = function(leader)
                if not leader.lost:
                    return result
            except (LeadershipLost, NotOwner):
                if not leader.lost:
                    raise
            finally:
                forget()
                leader.release()


class AsyncElection(ElectionBase):
    """The asyncio face: ``async with coord.aio.election("cron").lead() as leader: ...``; see `Election`.

    Example:
        >>> import asyncio, coord
        >>> async def main() -> str:
        ...     async with coord.aio.connect("memory://") as client:
        ...         async with client.election("cron").lead("a") as leader:
        ...             await leader.proclaim("b")
        ...             return (await client.election("cron").leader()).text
        >>> asyncio.run(main())
        'b'
    """

    def __init__(
        self,
        client: HasPrograms,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncLeadership], object] | None = None,
    ) -> None:
        """Describe the election; see `Election`. `on_lost` is called on the loop."""
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._led: AsyncLeadership | None = None

    # --- leading

    async def campaign(self, value: Value = None, *, timeout: Timeout = DEFAULT) -> AsyncLeadership:
        """Stand, wait to lead and return the guard; see `Election.campaign`. The caller is not cancelled on a loss."""
        return await self._line().take(self._value(value), self._terms(timeout), self._guard(self._client.port))

    def lead(self, value: Value = None, *, timeout: Timeout = DEFAULT) -> AbstractAsyncContextManager[AsyncLeadership]:
        """Campaign for the time of a block, which is cancelled on a loss; see `Election.lead`."""
        return self._block(value, timeout)

    @asynccontextmanager
    async def _block(self, value: Value, timeout: Timeout) -> AsyncIterator[AsyncLeadership]:
        async with await self.campaign(value, timeout=timeout) as leader:
            yield leader

    @property
    def leading(self) -> AsyncLeadership | None:
        """The guard of the leadership that was won last through this object, if it still leads."""
        led = self._led
        return led if led is not None and led.remaining() > 0 else None

    async def proclaim(self, value: str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Say something else as the leader; see `Election.proclaim`."""
        await self._own().proclaim(value, timeout=timeout)

    async def resign(self) -> bool:
        """Give up what this object leads; see `Election.resign`."""
        led, self._led = self._led, None
        return led is not None and await led.resign()

    async def transfer(self, to: Candidate | str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Pass leadership on to a candidate; see `Election.transfer`."""
        await self._own().transfer(to, timeout=timeout)

    def _own(self) -> AsyncLeadership:
        if self._led is None:
            raise NotOwner(f"this object does not lead {self.name!r}", name=self.name)
        return self._led

    def _guard(self, port: Port) -> Callable[[Place], AsyncLeadership]:
        def won(place: Place) -> AsyncLeadership:
            self._led = AsyncLeadership(port, self.name, place, self._on_lost)
            return self._led

        return won

    # --- looking

    async def candidates(self, *, timeout: Timeout = DEFAULT) -> list[Candidate]:
        """Everybody who stands, the leader first; see `Election.candidates`."""
        return await self._candidates(timeout)

    async def leader(self, *, timeout: Timeout = DEFAULT) -> Leader | None:
        """Who leads now, None if nobody does; see `Election.leader`."""
        return next(map(as_leader, await self.candidates(timeout=timeout)), None)

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Who leads now, then every leader, and None whenever nobody leads; see `Election.observe`."""
        with closing(self._observer()) as observer:
            while True:
                for leader in await observer.next(None):
                    yield leader

    # --- working

    def transitions(
        self, value: Value = None, *, interval: Seconds | None = None
    ) -> AsyncIterator[Transition[AsyncLeadership]]:
        """Stand again and again, and report the own role; see `Election.transitions`.

        Leaving an ``async for`` early ends the iteration a little later; ``contextlib.aclosing`` ends it at once.
        """
        port = self._client.port
        said, every = self._value(value), self._interval(interval)
        return self._reports(Candidacy(port, self._key, said, self._ttl, every, self._guard(port)))

    async def _reports(self, candidacy: Candidacy[AsyncLeadership]) -> AsyncIterator[Transition[AsyncLeadership]]:
        try:
            while True:
                yield await candidacy.next()
        finally:
            await candidacy.leave()

    def leader_only(
        self, function: Callable[Concatenate[AsyncLeadership, P], Awaitable[R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorator: a call waits to lead and runs the function as the leader; see `Election.leader_only`.

        The function is cancelled when leadership is lost, and run again when it is won again.
        """

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            client = self._client
            return await self._work(client.port, self._value(None), DEFAULT, lambda led: function(led, *args, **kwargs))

        return call

    def run_while_leader(
        self, function: Callable[[AsyncLeadership], Awaitable[object]], *, value: Value = None
    ) -> Background:
        """Run the function in a task whenever this process leads; see `Election.run_while_leader`.

        The function is cancelled when leadership is lost or given up, and when the client or the handle is closed.
        """
        said = self._value(value)

        async def program(port: Port) -> None:
            await self._work(port, said, None, function)

        return self._client.background(program, name=f"lead {self.name}")

    async def _work(
        self, port: Port, value: bytes, timeout: Timeout, function: Callable[[AsyncLeadership], Awaitable[R]]
    ) -> R:
        while True:
            leader = await Line(port, self._key).take(value, self._terms(timeout), self._guard(port))
            lost = False
            try:
                async with leader:
                    try:
                        result = await function(leader)
                    finally:
                        lost = leader.state is LeaseState.LOST  # in the block: to leave it gives up in any case
                    if not lost:
                        return result
            except (LeadershipLost, NotOwner):
                if not lost:
                    raise
