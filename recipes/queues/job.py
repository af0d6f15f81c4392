"""Jobs: what a consumer has in its hands, blocking and for asyncio.

A job is a guard like a lock's: `check`, `remaining`, `lost` and `txn` are the same. Leaving its block acknowledges it,
or gives it back if an error is on its way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from coord.errors import CoordError, JobLost, LeaseLost
from coord.model import DEFAULT, LeaseState
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.durations import Seconds, Timeout, call_deadline, seconds
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.queues.settling import Settling


class JobBase(GuardBase):
    """What both faces are; without attributes, which are in the faces."""

    __slots__ = ()

    kind: ClassVar[str] = "Job"
    loss_type: ClassVar[type[LeaseLost]] = JobLost

    _settling: Settling

    @property
    def value(self) -> bytes:
        """What was put."""
        return self._settling.grip.content.value

    @property
    def text(self) -> str:
        """What was put, as text.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        return self.value.decode()

    @property
    def id(self) -> str:
        """Its id: what `put` returned."""
        return self._settling.grip.standing.job

    @property
    def tries(self) -> int:
        """How often it was taken, this time included."""
        return self._settling.grip.standing.tries

    @property
    def priority(self) -> int:
        """0 for first to 255 for last."""
        return self._settling.grip.standing.priority

    @property
    def put_at(self) -> float:
        """Wall clock seconds of its producer when it was put, 0 if unknown; shown to people, never compared."""
        since = self._settling.grip.content.facts.get("since")
        return float(since) if isinstance(since, (int, float)) else 0.0

    @property
    def producer(self) -> str:
        """Who put it: process and machine, as it said itself."""
        facts = self._settling.grip.content.facts
        return f"{facts.get('task') or 'pid'} {facts.get('pid', 0)} on {facts.get('host', '?')}"

    @property
    def state(self) -> LeaseState:
        """HELD, UNSURE (a renewal is overdue) or LOST, judged by the clock at this moment; LOST once settled."""
        return LeaseState.LOST if self._overdue else super().state

    @property
    def cause(self) -> str:
        """Why it was lost, as in `coord.errors.JobLost`; "withdrawn" once settled, empty while it is ours."""
        return super().cause or ("overdue" if self._overdue else "")

    @property
    def _overdue(self) -> bool:
        return self.port.now() >= self._settling.until

    def remaining(self) -> float:
        """Seconds for which it is proven to be ours: 0 when it is lost."""
        return max(0.0, min(super().remaining(), self._settling.until - self.port.now()))

    def loss(self) -> LeaseLost:
        """The error that says how it was lost."""
        text = f"job {self.id!r} of the queue {self.name!r} was lost: {self.cause}"
        return JobLost(text, cause=self.cause, lease=self.lease, queue=self.name, job=self.id, tries=self.tries)

    def extend(self, hold: Seconds | None = None) -> None:
        """Keep it for `hold` seconds from now on; without it, for as long as the queue's `hold` says.

        Without a limit there is nothing to extend: it is ours as long as this process lives and reaches the server.

        Raises:
            JobLost: it was lost.
            NotOwner: it was settled.
        """
        self.check()
        usual = self._settling.hold
        if usual is None:
            return
        until = self.port.now() + (usual if hold is None else seconds(hold, "hold"))
        if not self.port.limit(self._place.ticket, until, partial(_is_over, weakref.ref(self))):
            raise self.loss()
        self._settling.until = until

    async def _ack(self, timeout: Timeout) -> None:
        self.check()
        self._settled(await self._settling.ack(call_deadline(self.port, timeout)))

    async def _nack(self, delay: Seconds, reason: str, timeout: Timeout) -> None:
        pause = seconds(delay, "delay")
        self.check()
        self._settled(await self._settling.nack(pause, reason, call_deadline(self.port, timeout)))

    def _settled(self, done: bool) -> None:
        if not done:
            self.key_is_gone()
            raise self.loss()
        self._released = True
        self._forget_loss()

    async def _leave(self, error: BaseException | None) -> None:
        """Acknowledge it, or give it back with the error as the reason; whatever happens it is not kept."""
        try:
            if error is None and self.state is not LeaseState.LOST:
                await self._ack(DEFAULT)
            elif error is not None and self.state is not LeaseState.LOST:
                try:
                    await self._nack(0, f"{type(error).__name__}: {error}"[:200], DEFAULT)
                except CoordError:
                    pass  # The error of the block is what counts, and what follows gives the job back, too.
        finally:
            await self._give_back()


class Job(JobBase, Held):
    """A job in the hands of blocking code: ``with queue.take() as job: work(job.value)``.

    Leaving the block acknowledges it; an error gives it back. A job that nobody refers to any more is given back, too.
    May be used from any thread.
    """

    __slots__ = ("_settling",)

    def __init__(self, port: Port, name: str, settling: Settling, on_lost: Callable[[Any], object] | None) -> None:
        self._settling = settling
        super().__init__(port, name, settling.grip.place, on_lost)

    def ack(self, *, timeout: Timeout = DEFAULT) -> None:
        """It is done: take it out of the queue.

        Raises:
            JobLost: it was lost before, and may be done a second time.
            NotOwner: it was settled already.
            OutcomeUnknown: no answer came in time; the same call may be made again.
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._ack(timeout))

    def nack(self, *, delay: Seconds = 0, reason: str = "given back", timeout: Timeout = DEFAULT) -> None:
        """Give it back to its old place in the queue, `delay` seconds later; among the dead if that was its last try.

        Raises: as `ack`.
        """
        run_blocking(self._nack(delay, reason, timeout))


class AsyncJob(JobBase, AsyncHeld):
    """A job in the hands of asyncio code: ``async with queue.take() as job: ...``; see `Job`.

    The block is cancelled if the job is lost, and then raises JobLost.
    """

    __slots__ = ("_settling",)

    def __init__(self, port: Port, name: str, settling: Settling, on_lost: Callable[[Any], object] | None) -> None:
        self._settling = settling
        super().__init__(port, name, settling.grip.place, on_lost)

    async def ack(self, *, timeout: Timeout = DEFAULT) -> None:
        """It is done: take it out of the queue; see `Job.ack`."""
        await self._ack(timeout)

    async def nack(self, *, delay: Seconds = 0, reason: str = "given back", timeout: Timeout = DEFAULT) -> None:
        """Give it back; see `Job.nack`."""
        await self._nack(delay, reason, timeout)


def _is_over(reference: weakref.ref[JobBase]) -> None:
    job = reference()
    if job is not None:
        job.tell_loss()
