"""The programs that settle a job: done, or given back.

Both are compared with the claim, so a consumer that lost a job cannot settle what somebody else has.
"""

from __future__ import annotations

from collections.abc import Callable

from coord.errors import LeaseLost
from coord.model import RangeResult
from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Relation, Txn
from coord.port import Port
from coord.recipes.common.patience import Patience
from coord.recipes.queues.names import Content, Names
from coord.recipes.queues.taker import Grip
from coord.recipes.queues.tending import Tending


class Settling:
    """Settles one job.

    Args:
        port: what everything is done through.
        names: the queue's keys.
        tending: what becomes of jobs that come back.
        grip: the job.
        wall: seconds of the wall clock.
        hold: seconds for which the consumer may have it, None for as long as it lives.

    Attributes:
        until: instant of the port's clock at which the consumer must be done.
    """

    def __init__(
        self,
        port: Port,
        names: Names,
        tending: Tending,
        grip: Grip,
        wall: Callable[[], float],
        hold: float | None = None,
    ) -> None:
        self._port = port
        self._names = names
        self._tending = tending
        self._wall = wall
        self.grip = grip
        self.hold = hold
        self.until = float("inf")

    async def ack(self, deadline: float | None) -> bool:
        """Take the job out of the queue: it is done. False if it was lost, and not done by this.

        Raises:
            OutcomeUnknown: it was sent and no answer came before the deadline; it may be asked for again.
            CallTimeout: it did not happen before the deadline; it may be asked for again.
            RequestRefused, HistoryLost, ClosedError.
        """
        return await self._settle(
            gone(self._names, self.grip.standing.job, self.grip.content), deadline, is_done=_is_gone
        )

    async def nack(self, delay: float, reason: str, deadline: float | None) -> bool:
        """Give the job back: to its old place, `delay` seconds later, or among the dead. False if it was lost.

        Raises: as `ack`.
        """
        standing = self.grip.standing
        back = self._tending.back_to(standing, reason)
        ops: tuple[Op, ...] = (back, Put(self._names.returns))
        if delay and back.key == self._names.ready_at(standing):
            ops = (Put(self._names.later_at(self._wall() + delay, standing.job), standing.encode()),)
        # A job that went back by itself meanwhile is where it was to go.
        return await self._settle(ops, deadline, is_done=lambda _job: True)

    async def _settle(
        self, ops: tuple[Op, ...], deadline: float | None, *, is_done: Callable[[RangeResult], bool]
    ) -> bool:
        ticket, job = self.grip.place.ticket, self.grip.standing.job
        request = Txn(
            (Compare(ticket.key, Attribute.CREATE, Relation.EQUAL, self.grip.place.fence),),
            (Delete(ticket.key), Delete(self._names.taken_job(job)), *ops),
            (Get(self._names.job(job), keys_only=True),),
        )
        sent = self._port.now()
        try:
            result, repeated = await Patience(self._port, deadline, ticket.session).resolve(request)
        except LeaseLost:
            return False
        done = result.succeeded or (repeated and is_done(result.range(0)))
        if done:
            self._port.spent(ticket, sent=sent)
        return done


def gone(names: Names, job: str, content: Content) -> tuple[Op, ...]:
    """What deletes a job, and that it was the task of a name."""
    task = content.facts.get("named")
    if not isinstance(task, str) or not task:
        return (Delete(names.job(job)),)
    key = names.task(task)
    still = Compare(key, Attribute.VALUE, Relation.EQUAL, job.encode())
    return (Delete(names.job(job)), Txn((still,), (Delete(key),)))


def _is_gone(job: RangeResult) -> bool:
    """What is done is deleted; what was only lost is still there."""
    return not job.items
