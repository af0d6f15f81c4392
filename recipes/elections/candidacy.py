"""The program behind role reports: one who stands, leads, loses and stands again, and says each time how it is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from coord.errors import CallTimeout, Compacted, LeaseLost, LockTimeout
from coord.model import LeaseState
from coord.ops import Get
from coord.port import Port, Session, Ticket, Watching, WatchTarget
from coord.recipes.common.durations import CALL_SECONDS
from coord.recipes.common.patience import Patience
from coord.recipes.elections.leadership import LeadershipBase
from coord.recipes.ownership.turn import Line, Place, Terms, joining

L = TypeVar("L", bound=LeadershipBase)


class Report(enum.Enum):
    """The six things that a participant can say of its role."""

    FIRST_LEADER = "first run as leader"
    FIRST_FOLLOWER = "first run as follower"
    STILL_LEADER = "still leader"
    STILL_FOLLOWER = "still follower"
    TURNED_LEADER = "turned leader"
    TURNED_FOLLOWER = "turned follower"

    @property
    def leads(self) -> bool:
        """True for the three of a leader."""
        return self in _LEADS


_LEADS: Final = (Report.FIRST_LEADER, Report.STILL_LEADER, Report.TURNED_LEADER)


@dataclass(frozen=True, slots=True)
class Transition(Generic[L]):
    """One report.

    Attributes:
        report: which of the six.
        leader: the guard of the own leadership, None for a follower.
    """

    report: Report
    leader: L | None


class Candidacy(Line, Generic[L]):
    """One who stands for an election from report to report. A program's own object, used by one at a time.

    Args:
        port: what everything is awaited from.
        name: the election.
        value: what the candidate says.
        ttl: time to live of its lease.
        interval: seconds after which it reports although nothing changed.
        own: makes the guard.
    """

    def __init__(
        self, port: Port, name: bytes, value: bytes, ttl: float, interval: float, own: Callable[[Place], L]
    ) -> None:
        super().__init__(port, name)
        self._value = value
        self._ttl = ttl
        self._interval = interval
        self._own = own
        self._began = False
        self._ticket: Ticket | None = None  # while it waits for its turn
        self._fence: int | None = None  # of that ticket, once it was answered
        self._guard: L | None = None
        self._watch: Watching | None = None  # of the own key, while it leads

    async def next(self) -> Transition[L]:
        """The next report: at once when the role changes, else after the interval; the first one does not wait.

        Raises:
            LeaseLost: the session was ended on purpose.
            RequestRefused, HistoryLost, ForkedError, ClosedError.
        """
        now = self._port.now()
        if not self._began:
            leads = await self._lead(Terms(self._ttl, now + CALL_SECONDS, wait=False))
            self._began = True
            return self._say(Report.FIRST_LEADER if leads else Report.FIRST_FOLLOWER)
        until = now + self._interval
        if self._guard is None:
            return self._say(
                Report.TURNED_LEADER if await self._lead(Terms(self._ttl, until)) else Report.STILL_FOLLOWER
            )
        if await self._keep(self._guard, until):
            return self._say(Report.STILL_LEADER)
        self._forget()
        return self._say(Report.TURNED_FOLLOWER)

    def _say(self, report: Report) -> Transition[L]:
        return Transition(report, self._guard)

    async def _lead(self, terms: Terms) -> bool:
        """Wait to lead, with the place it has; True when it does."""
        try:
            self._guard = await joining(self._port, terms, lambda session: self._win(session, terms))
        except (CallTimeout, LockTimeout):
            return False
        return True

    async def _win(self, session: Session, terms: Terms) -> L:
        patience = Patience(self._port, terms.deadline, session)
        try:
            ticket, first = await self._stand(session, patience)
            while not first:
                assert self._fence is not None  # the claim was answered
                first = await self._advance(ticket, self._fence, terms, patience)
            assert self._fence is not None
            session.check()
        except (CallTimeout, LockTimeout):
            raise  # it goes on with its place when it is asked for the next report
        except BaseException:
            await self._step_down()
            raise
        guard = self._own(Place(ticket, self._fence))
        self._port.hold(ticket, guard)
        self._watch = self._watched(ticket.key, self._fence + 1)
        self._ticket = self._fence = None
        return guard

    async def _stand(self, session: Session, patience: Patience) -> tuple[Ticket, bool]:
        """Have a place in the queue; True if nobody is known to go first."""
        ticket = self._ticket
        if ticket is not None and ticket.session is not session:
            await self._step_down()
            ticket = None
        if ticket is None:
            self._ticket = ticket = self._port.ticket(session, self._lane.own)
            self._port.hold(ticket, self)  # who drops this has left
        if self._fence is not None:
            return ticket, False
        self._fence, first = await self._claim(ticket, self._value, patience)
        return ticket, first

    async def _step_down(self) -> None:
        ticket, self._ticket, self._fence = self._ticket, None, None
        if ticket is not None:
            await self._port.withdraw(ticket)

    def _watched(self, key: bytes, from_revision: int) -> Watching:
        return self._port.watch([WatchTarget(key, puts=False)], from_revision=from_revision)

    async def _keep(self, guard: L, until: float) -> bool:
        """Lead until then; False as soon as it leads no more."""
        try:
            while guard.state is not LeaseState.LOST:
                await self._look(guard, until)
        except LeaseLost:
            return False
        except CallTimeout:
            return guard.state is not LeaseState.LOST
        return False

    async def _look(self, guard: L, until: float) -> None:
        """Wait for the own key to go, which nobody else would tell a leader that writes nothing."""
        if self._watch is None:
            seen = await Patience(self._port, until, guard.session).read(Get(guard.key, keys_only=True))
            gone = seen.first is None or seen.first.create_revision != guard.fence
            self._watch = self._watched(guard.key, seen.header.revision + 1)
        else:
            try:
                gone = bool((await self._watch.next(deadline=until, session=guard.session)).events)
            except Compacted:
                self._stop_watching()
                return
        if gone:
            guard.key_is_gone()

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _forget(self) -> None:
        self._stop_watching()
        self._guard = None

    async def leave(self) -> None:
        """Resign, or leave the queue."""
        guard = self._guard
        self._forget()
        try:
            await self._step_down()
        finally:
            if guard is not None:
                await guard._give_back()
