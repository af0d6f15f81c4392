"""The program behind a transfer: leadership goes to one candidate, in one step of the store or not at all.

One transaction deletes the leader's key and those of everybody in front of the target, if the leader still leads and
the target still stands: so the target is next at that moment, and at no moment does nobody lead. A candidate of coord
whose key was deleted stands again, at the end of the queue, as it does whenever its place is gone; nobody else wakes.
Go's candidates do not look at their keys, so one in front of the target must leave by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from coord.errors import (
    CallTimeout,
    Compacted,
    CoordError,
    LeadershipLost,
    LeaseLost,
    NoCandidate,
    OutcomeUnknown,
    Unavailable,
)
from coord.keys import prefix_end
from coord.model import TxnResult
from coord.ops import Attribute, Compare, Delete, Get, Order, Relation, Target, Txn
from coord.port import WatchTarget
from coord.recipes.common.client import NO_WAIT
from coord.recipes.common.durations import Timeout, call_deadline
from coord.recipes.common.layout import contender_prefix
from coord.recipes.common.patience import Patience
from coord.recipes.elections.candidate import Candidate, candidates, chosen

if TYPE_CHECKING:
    from coord.recipes.elections.leadership import LeadershipBase

STEP_LIMIT: Final = 100
"""Deletions in one transaction; etcd refuses more than 128 operations."""


class Handover:
    """One transfer by one leader."""

    def __init__(self, guard: LeadershipBase, to: Candidate | str | bytes, timeout: Timeout) -> None:
        # Not to wait is about candidates that do not step behind: the requests themselves may take their time.
        self._waits = timeout not in (0, timedelta(0))
        deadline = call_deadline(guard.port, timeout if self._waits else NO_WAIT)
        self._patience = Patience(guard.port, deadline, guard.session)
        self._guard = guard
        self._port = guard.port
        self._to = to
        start = contender_prefix(guard.key.rpartition(b"/")[0])
        self._queue = Get(start, prefix_end(start), order=Order.ASCEND, target=Target.CREATE)
        self._front = Get(start, prefix_end(start), limit=1, order=Order.ASCEND, target=Target.CREATE, keys_only=True)
        self._doubt = False  # a request was sent that ends this leadership, and may have happened

    async def run(self) -> None:
        """Do it.

        Raises:
            NoCandidate: nobody of that name stands, or stands any more; the leader stays.
            CallTimeout: not in time, or somebody in front does not step behind; the leader stays.
            OutcomeUnknown: leadership was given up, and whether the target ever had it is not known.
            LeadershipLost: it was lost.
            NotOwner: it was given up before.
            RequestRefused, HistoryLost, ClosedError.
        """
        try:
            await self._run()
        except LeadershipLost:
            raise
        except LeaseLost as lost:
            raise self._guard.loss() from lost

    async def _run(self) -> None:
        guard = self._guard
        while True:
            guard.check()
            queue, revision = await self._look()
            target = chosen([each for each in queue if each.key != guard.key], self._to)
            if target is None:
                if chosen(queue, self._to) is not None:
                    return  # it leads already
                raise NoCandidate(f"{self._to!r} is no candidate of {guard.name!r}; its leader stays", name=guard.name)
            ahead = [each for each in queue if guard.fence < each.term < target.term]
            staying = [each.key for each in ahead if not each.steps_behind]
            if staying:
                await self._wait_gone(staying, target.key, revision + 1)
            elif await self._pass_on(target, [each.key for each in ahead]):
                return
            else:
                self._to = target  # who has its name now is somebody else

    async def _look(self) -> tuple[list[Candidate], int]:
        guard = self._guard
        seen = await self._patience.read(self._queue)
        queue = candidates(guard.key.rpartition(b"/")[0], seen.items)
        if (guard.key, guard.term) not in [(each.key, each.term) for each in queue]:
            guard.key_is_gone()
            raise guard.loss()
        return queue, seen.header.revision

    async def _wait_gone(self, staying: Sequence[bytes], target: bytes, from_revision: int) -> None:
        guard = self._guard
        if not self._waits:
            raise CallTimeout(f"{staying[0]!r} stands in front and does not step behind", name=guard.name)
        keys = (*staying, target, guard.key)
        watch = self._port.watch([WatchTarget(key, puts=False) for key in keys], from_revision=from_revision)
        try:
            await watch.next(deadline=self._patience.deadline, session=guard.session)
        except Compacted:
            return  # The queue is read again anyway.
        finally:
            watch.close()

    async def _pass_on(self, target: Candidate, ahead: list[bytes]) -> bool:
        """Make `target` the leader; False if it stands no more."""
        while len(ahead) > STEP_LIMIT:
            steps, ahead = ahead[:STEP_LIMIT], ahead[STEP_LIMIT:]
            await self._patience.txn(self._request(target, steps))
        guard = self._guard
        guard.suspend()
        try:
            result = await self._commit(self._request(target, [*ahead, guard.key]))
        except BaseException as error:
            if not self._doubt:
                guard.resume()
                raise
            await guard.surrender()
            if isinstance(error, CallTimeout):
                raise self._unknown() from error
            raise
        own = None if result.succeeded else result.range(0).first
        if own is not None and own.create_revision == guard.fence:
            # An earlier attempt that is still on its way cannot happen either: no key has that create revision again.
            guard.resume()
            return False
        if not result.succeeded and not self._doubt:
            guard.resume()
            guard.key_is_gone()
            raise guard.loss()
        await guard.surrender()
        front = None if result.succeeded else result.range(1).first
        if not result.succeeded and (front is None or front.key != target.key):
            raise self._unknown()
        return True

    def _request(self, target: Candidate, keys: Sequence[bytes]) -> Txn:
        guard = self._guard
        return Txn(
            compares=(
                Compare(guard.key, Attribute.CREATE, Relation.EQUAL, guard.fence),
                Compare(target.key, Attribute.CREATE, Relation.EQUAL, target.term),
            ),
            then=tuple(Delete(key) for key in keys),
            otherwise=(Get(guard.key, keys_only=True), self._front),
        )

    async def _commit(self, request: Txn) -> TxnResult:
        """Commit it, asking again until there is an answer.

        `_doubt` says afterwards whether an attempt without an answer may have happened.
        """
        while True:
            doubted, self._doubt = self._doubt, True
            trouble: CoordError
            try:
                result = await self._port.txn(request, deadline=self._patience.attempt())
            except OutcomeUnknown as lost:
                trouble = lost
            except (Unavailable, CallTimeout) as unsent:
                trouble, self._doubt = unsent, doubted
            except CoordError:
                self._doubt = doubted
                raise
            else:
                self._doubt = doubted
                return result
            await self._patience.pause(trouble)

    def _unknown(self) -> OutcomeUnknown:
        name = self._guard.name
        return OutcomeUnknown(f"leadership of {name!r} was given up; whether the target had it is not known", name=name)
