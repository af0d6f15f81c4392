"""What an operator does with a queue: how long it is, and what becomes of the dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Relation, Txn
from coord.port import Port
from coord.recipes.common.patience import Patience
from coord.recipes.queues.names import Content, Names, Standing, all_of, parse_content, parse_facts
from coord.recipes.queues.page import OPEN
from coord.recipes.queues.settling import gone


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs a queue has.

    Attributes:
        ready: can be taken now.
        taken: in the hands of consumers.
        delayed: not due yet.
        dead: tried too often.
    """

    ready: int
    taken: int
    delayed: int
    dead: int

    @property
    def total(self) -> int:
        """All that is to be done: everything but the dead."""
        return self.ready + self.taken + self.delayed


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was tried too often.

    Attributes:
        id: what `put` returned.
        value: what was put.
        tries: how often it was taken.
        reason: why it came back the last time.
        put_at: wall clock seconds of its producer when it was put, 0 if unknown.
    """

    id: str
    value: bytes
    tries: int
    reason: str
    put_at: float


class Operating:
    """Programs over a whole queue.

    Args:
        port: what everything is done through.
        names: the queue's keys.
        deadline: instant at which they give up, None for never.
    """

    def __init__(self, port: Port, names: Names, deadline: float | None) -> None:
        self._names = names
        self._patience = Patience(port, deadline)

    async def depth(self) -> Depth:
        """How many jobs there are, at one revision.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        names = self._names
        places = (names.ready, names.taken_jobs, names.later, names.dead)
        result = await self._patience.txn(Txn(then=tuple(Get(*all_of(place), count_only=True) for place in places)))
        return Depth(*(result.range(position).count for position in range(len(places))))

    async def dead(self) -> list[DeadJob]:
        """The dead, in the order in which they were put.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        lying = await self._patience.read(Get(*all_of(self._names.dead)))
        found = [each for item in lying.items if (each := parse_facts(item.value)) is not None]
        told = []
        for standing, facts in sorted(found, key=lambda each: each[0].place):
            stored = (await self._patience.read(Get(self._names.job(standing.job)))).first
            if stored is not None:
                content = parse_content(stored.value)
                since = content.facts.get("since")
                put_at = float(since) if isinstance(since, (int, float)) else 0.0
                reason = str(facts.get("reason", ""))
                told.append(DeadJob(standing.job, content.value, standing.tries, reason, put_at))
        return told

    async def revive(self, job: str) -> bool:
        """Put a dead job back to its old place, with all its tries; False if it is not dead.

        Raises:
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """

        def back(standing: Standing) -> tuple[Op, ...]:
            fresh = replace(standing, tries=0)
            return (Put(self._names.ready_at(fresh), fresh.ready_value()), Put(self._names.returns))

        return await self._move(job, back)

    async def discard(self, job: str) -> bool:
        """Delete a dead job; False if it is not dead.

        Raises:
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        stored = (await self._patience.read(Get(self._names.job(job)))).first
        content = Content(b"", {}) if stored is None else parse_content(stored.value)
        return await self._move(job, lambda _standing: gone(self._names, job, content))

    async def set_gate(self, state: bytes) -> None:
        """Open or close the queue's gate.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        moved = False
        while not moved:
            found = (await self._patience.read(Get(self._names.gate))).first
            revision = 0 if found is None else found.mod_revision
            # Compared and always written, so that nothing that was sent before can move it afterwards.
            still = Compare(self._names.gate, Attribute.MOD, Relation.EQUAL, revision)
            moved = (await self._patience.txn(Txn((still,), (Put(self._names.gate, state),)))).succeeded

    async def gate(self) -> bool:
        """True if the queue's gate is open.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        found = (await self._patience.read(Get(self._names.gate))).first
        return found is not None and found.value == OPEN

    async def _move(self, job: str, ops: Callable[[Standing], tuple[Op, ...]]) -> bool:
        key = self._names.dead_at(job)
        item = (await self._patience.read(Get(key))).first
        found = None if item is None else parse_facts(item.value)
        if item is None or found is None:
            return False
        still = Compare(key, Attribute.MOD, Relation.EQUAL, item.mod_revision)
        result, repeated = await self._patience.resolve(Txn((still,), (Delete(key), *ops(found[0]))))
        return result.succeeded or repeated
