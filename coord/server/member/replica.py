"""The replica: proposals in, answers out, and the order of everything between.

Proposals are gathered; all that wait are written to the log and synced as one batch while the loop goes on; what the
disk has is committed, applied in order, and answered, a whole batch in one loop callback. There is no task, lock or
timer for a single request: one timer looks for requests that waited too long, and everything else is a callback.

The loop is the only thread that touches anything in here. An exception from the state machine or the disk is the end of
the server (`fatal`), because what it would say afterwards could be a lie.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coord.server.consensus import Consensus, Entry
from coord.server.logs import logger
from coord.server.machine.apply import StateMachine
from coord.server.member import commands
from coord.server.member.commands import RequestIds
from coord.server.member.figures import Figures
from coord.server.member.gathering import Gathering
from coord.server.member.identity import Identity
from coord.server.member.journal import Journal
from coord.server.member.pending import Pending
from coord.server.member.periodic import Periodic
from coord.statuses import (
    NO_LEADER,
    NO_SPACE,
    REQUEST_TOO_LARGE,
    STOPPED,
    TIMED_OUT,
    TOO_MANY_REQUESTS,
    Refused,
)

_log = logger(__name__)

# What is still accepted when only the reserved disk space is left: what ends that state, and the small entries that
# release locks of the dead.
_FITS_THE_RESERVE = frozenset(("alarm", "compaction", "lease_revoke", "member_attributes"))
_SWEEP_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds one replica.

    Attributes:
        request_timeout: seconds after which an unanswered request is told so; it may still be applied.
        request_bytes: largest request, measured as etcd does.
        unapplied: committed entries that may wait to be applied.
        queued_bytes: bytes of proposals that may wait for the disk.
        apply_slice: seconds the loop may spend on applying before others get their turn.
        slow_apply: seconds after which one apply is logged.
    """

    request_timeout: float = 7.0
    request_bytes: int = 1_572_864
    unapplied: int = 5_000
    queued_bytes: int = 128 * 1024 * 1024
    apply_slice: float = 0.005
    slow_apply: float = 0.1


class Replica:
    """One member's copy of the state and the way to change it.

    Attributes:
        identity: cluster and member id.
        state: the state machine; reads may ask it as far as `read_barrier` allows.
        figures: counters and histograms.
        after_apply: called on the loop after each slice of applied entries, with everything sealed and answered.
        lagging: asked before each proposal; True pushes back because the backend cannot keep up.
        over_quota: asked with each proposal's body; True refuses it for lack of space.
        no_space: told of each request that is refused because only reserved disk space is left.
        at_failure: called first when the replica fails: an entry may be half applied, and whatever writes, flushes or
            reads beside the log must not see another turn of the loop.
        scrubbed: a pending for the moment when nothing is left of what a compaction at a revision drops.
        applied: index of the entry applied last.
    """

    def __init__(
        self,
        identity: Identity,
        consensus: Consensus,
        state: StateMachine,
        journal: Journal,
        *,
        loop: asyncio.AbstractEventLoop,
        applied: tuple[int, int] = (0, 0),
        seal: Callable[[int, int], None] | None = None,
        limits: Limits | None = None,
        figures: Figures | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.identity = identity
        self.state = state
        self.figures = figures or Figures()
        self.limits = limits or Limits()
        self.after_apply: list[Callable[[], None]] = []
        self.lagging: Callable[[], bool] = _never
        self.over_quota: Callable[[dict[str, Any]], bool] | None = None
        self.no_space: Callable[[], None] = _nothing
        self.at_failure: list[Callable[[], None]] = []
        self.scrubbed: Callable[[int], Pending[None]] = _at_once
        self.started = False
        self.applied, self._applied_term = applied
        self._loop = loop
        self._consensus = consensus
        self._journal = journal
        self._seal = seal or _unsealed
        self._took_office = False
        self._on_fatal = on_fatal
        self._ids = RequestIds(identity.member_id, int(time.time() * 1000))
        # Deadline and pending of every request, oldest first: all wait equally long.
        self._waiting: dict[int, tuple[float, Pending[Any]]] = {}
        self._gathered: list[tuple[int, bytes]] = []  # request id and entry of what the log does not have yet
        self._gathering = Gathering(loop, self._gathering_over)
        self._committed: deque[Entry] = deque()
        self._answers: list[tuple[Pending[Any], Any, Exception | None]] = []
        self._readers_at: deque[tuple[int, int]] = deque()
        self._queued_bytes = 0
        self._writing_bytes = 0
        self._writing = False
        self._pump_planned = False
        self._apply_planned = False
        self._first_applied: Pending[None] = Pending()
        self._stopping = False
        self._drained: Pending[None] = Pending()
        self._failure: BaseException | None = None
        self._sweeper = Periodic(loop, _SWEEP_SECONDS, self._sweep, self.fatal)

    # What others may know

    @property
    def term(self) -> int:
        return self._consensus.term

    @property
    def commit(self) -> int:
        return self._consensus.commit

    @property
    def leader(self) -> int:
        """Member id of the leader, 0 for none."""
        return self._consensus.leader

    @property
    def leads(self) -> bool:
        return self._consensus.leader == self.identity.member_id

    @property
    def waiting(self) -> int:
        """Requests proposed and not answered."""
        return len(self._waiting)

    @property
    def failure(self) -> BaseException | None:
        """What ended the replica, None while it lives."""
        return self._failure

    def new_id(self) -> int:
        """An id that no other request or lease of the cluster has (a lease id must be positive: clear the top bit)."""
        return self._ids.next()

    # Writes

    def propose(self, *, user: str = "", auth_revision: int = 0, **body: Any) -> Pending[Any]:
        """Replicate one command, named by its field of the envelope: ``propose(put=PutRequest(...))``.

        The pending brings what the state machine answered, or `Refused`. A time-out leaves open whether it was applied.

        Raises:
            Refused: it was not proposed and never will be.
        """
        self._admit(body)
        request_id = self._ids.next()
        data = commands.encode(request_id, self.identity.member_id, body, user, auth_revision)
        if commands.too_large(data, request_id, self.limits.request_bytes):
            raise self._refusal(REQUEST_TOO_LARGE)
        if not self._consensus.leader:
            raise self._refusal(NO_LEADER)
        pending = self._expect(request_id)
        self._gathered.append((request_id, data))
        self._queued_bytes += len(data)
        self.figures.proposed += 1
        if not self._pump_planned and not self._writing and self._gathering.complete(len(self._gathered)):
            self._plan_pump()
        return pending

    def _admit(self, body: dict[str, Any]) -> None:
        if self._stopping or self._failure is not None:
            raise self._refusal(STOPPED)
        gap = self._consensus.commit - self.applied
        if gap > self.limits.unapplied and (gap > 2 * self.limits.unapplied or "lease_revoke" not in body):
            raise self._refusal(TOO_MANY_REQUESTS)
        if self._queued_bytes + self._writing_bytes > self.limits.queued_bytes or self.lagging():
            raise self._refusal(TOO_MANY_REQUESTS)
        if self._journal.low_space and _FITS_THE_RESERVE.isdisjoint(body):
            self.no_space()
            raise self._refusal(NO_SPACE)
        if self.over_quota is not None and self.over_quota(body):
            raise self._refusal(NO_SPACE)

    def _refusal(self, status: Any) -> Refused:
        self.figures.refused += 1
        return Refused(status)

    # Reads

    def read_barrier(self) -> Pending[None] | None:
        """None if the applied state is linearizable right now; else a pending to wait for.

        Raises:
            Refused: no leader could say so, or the replica stopped.
        """
        if self._failure is not None:
            raise self._refusal(STOPPED)
        index = self._consensus.read_now()
        if 0 <= index <= self.applied:
            return None
        if self._stopping:
            raise self._refusal(STOPPED)
        request_id = self._ids.next()
        if index >= 0:
            self._readers_at.append((index, request_id))
        elif self._consensus.read_index(request_id.to_bytes(8, "big")):
            self._plan_pump()
        else:
            raise self._refusal(NO_LEADER)
        return self._expect(request_id)

    def _release_readers(self) -> None:
        while self._readers_at and self._readers_at[0][0] <= self.applied:
            found = self._waiting.pop(self._readers_at.popleft()[1], None)
            if found is not None:
                found[1].resolve(None)

    def _expect(self, request_id: int) -> Pending[Any]:
        pending: Pending[Any] = Pending()
        self._waiting[request_id] = (self._loop.time() + self.limits.request_timeout, pending)
        return pending

    # The round: log, disk, commit, apply

    def _plan_pump(self) -> None:
        if not self._pump_planned:
            self._pump_planned = True
            self._loop.call_soon(self._pump_planned_now)

    def _pump_planned_now(self) -> None:
        self._pump_planned = False
        self._guarded(self._pump)

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica cannot vouch for its state any more
            self.fatal(error)

    def _pump(self) -> None:
        """Take batches until one waits for the disk. Its write starts before anything is applied: both then overlap."""
        if not self._writing and self._gathering.complete(len(self._gathered)):
            self._hand_over()
        while not self._writing and self._consensus.has_ready():
            ready = self._consensus.ready()
            if ready.entries or ready.hard_state is not None:
                self._writing = True
                if self._journal.persist(ready, self._persisted):
                    self._writing = False
            self._committed.extend(ready.committed)
            for state in ready.read_states:
                self._readers_at.append((state.index, int.from_bytes(state.token, "big")))
            if not self._writing:
                self._writing_bytes = 0
                self._consensus.advance()
        if not self._apply_planned:
            self._apply_slice()

    def _hand_over(self) -> None:
        """Give what was gathered to consensus, which makes one batch of it."""
        self._gathering.stop()
        gathered, self._gathered = self._gathered, []
        self._writing_bytes, self._queued_bytes = self._queued_bytes, 0
        for request_id, data in gathered:
            if not self._consensus.propose(data):
                waiting = self._waiting.pop(request_id, None)
                if waiting is not None:
                    waiting[1].fail(self._refusal(NO_LEADER))

    def _gathering_over(self) -> None:
        self._guarded(self._pump)

    def _persisted(self) -> None:
        """The disk has the batch: commit moves, and the next batch goes to the disk before this one is applied."""
        self._guarded(self._advance)

    def _advance(self) -> None:
        self._writing = False
        self._writing_bytes = 0
        self._consensus.advance()
        self._gathering.start(len(self._waiting))
        self._pump()

    def _apply_slice(self) -> None:
        committed = self._committed
        if committed:
            clock = time.monotonic  # not the loop's time, which uvloop stops for the length of a callback
            started = before = clock()
            while committed:
                self._apply(committed.popleft())
                now = clock()
                if now - before > self.limits.slow_apply:
                    self.figures.slow_applies += 1
                    _log.warning("apply request took too long", took=now - before, expected=self.limits.slow_apply)
                before = now
                if committed and now - started > self.limits.apply_slice:
                    self._apply_planned = True
                    self._loop.call_soon(self._apply_more)
                    break
            # Between entries only: a flush carries what is sealed, and never a part of an entry.
            self.seal()
            self._answer()
            for call in self.after_apply:
                call()
            if self._took_office:
                self._first_applied.resolve(None)
        if self._readers_at:
            self._release_readers()
        if self._stopping and not self._waiting:
            self._drained.resolve(None)

    def seal(self) -> None:
        """Let the next flush carry all effects so far; also called behind each step of work beside the log."""
        self._seal(self.applied, self._applied_term)

    def _answer(self) -> None:
        answers, self._answers = self._answers, []
        for pending, result, error in answers:
            if error is None:
                pending.resolve(result)
            else:
                self.figures.failed += 1
                pending.fail(error)

    def _apply_more(self) -> None:
        self._apply_planned = False
        self._guarded(self._apply_slice)

    def _apply(self, entry: Entry) -> None:
        self.applied, self._applied_term = entry.index, entry.term
        self.figures.applied += 1
        if not entry.data:
            self._took_office = self._took_office or entry.term == self._consensus.term
            return
        envelope = commands.decode(entry.data)
        result: Any = None
        failure: Exception | None = None
        try:
            result = self.state.apply(envelope)
        except Refused as error:
            failure = error
        if envelope.member_id == self.identity.member_id:
            found = self._waiting.pop(envelope.request_id, None)
            if found is not None:
                self._answers.append((found[1], result, failure))

    # Time

    def _sweep(self) -> None:
        """Tell those who waited too long."""
        now = self._loop.time()
        late = list(itertools.takewhile(lambda item: item[1][0] <= now, self._waiting.items()))
        for request_id, (_, pending) in late:
            del self._waiting[request_id]
            self.figures.timed_out += 1
            pending.fail(Refused(TIMED_OUT))

    # Life

    async def start(self) -> None:
        """Apply what the log holds beyond the backend, commit the first entry of this term, and accept requests.

        Raises:
            Exception: what ended the replica meanwhile.
        """
        self._sweeper.start()
        self._plan_pump()
        await self._first_applied
        self.started = True

    def fatal(self, error: BaseException) -> None:
        """End the replica: nothing that waits is acknowledged. The first reason counts."""
        if self._failure is not None:
            return
        self._failure = error
        self._sweeper.stop()
        for stop in self.at_failure:
            stop()
        _log.critical("the server cannot go on and ends; nothing unacknowledged was promised", error=str(error))
        if self._on_fatal is not None:
            self._on_fatal(error)
        self._first_applied.fail(error)
        self._fail_waiting(Refused(STOPPED))

    def _fail_waiting(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, {}
        answers, self._answers = self._answers, []
        for pending in [answer[0] for answer in answers] + [pending for _, pending in waiting.values()]:
            pending.fail(error)

    async def stop(self, grace: float = 5.0) -> None:
        """Refuse new requests, let those under way finish for at most `grace` seconds, and refuse the rest."""
        self._stopping = True
        if self._waiting and self._failure is None:
            try:
                async with asyncio.timeout(grace):
                    await self._drained
            except TimeoutError:
                _log.warning("requests are left unanswered at the stop", requests=len(self._waiting))
        self._gathering.stop()
        self._sweeper.stop()
        self._fail_waiting(Refused(STOPPED))


def _never() -> bool:
    return False


def _nothing() -> None:
    """Where nobody wants to be told."""


def _at_once(_: int) -> Pending[None]:
    pending: Pending[None] = Pending()
    pending.resolve(None)
    return pending


def _unsealed(_: int, __: int) -> None:
    """For a machine that keeps nothing."""
