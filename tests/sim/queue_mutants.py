"""Bugs that queues were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

from coord.ops import Attribute, Compare, Delete, Get, Put, Relation, Txn, missing
from coord.recipes.common.patience import Patience
from coord.recipes.queues import page as front
from coord.recipes.queues.job import JobBase
from coord.recipes.queues.names import Standing
from coord.recipes.queues.page import Candidate, Front, Gate, GatedFront, Page
from coord.recipes.queues.putting import Putter, Receipt
from coord.recipes.queues.settling import Settling
from coord.recipes.queues.taker import Taker
from coord.recipes.queues.tending import Tending
from coord.testing.sim import sweep
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.queue import QueueScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
BACK = Shape(producers=(3,), consumers=(1, 1), moods=("ack", "nack", "drop"), work=1.0)
LATER = Shape(producers=(2,), consumers=(1, 1), moods=("ack", "later"), delays=(0.0, 5.0), work=0.0)
DYING = Shape(producers=(2,), consumers=(1, 1), work=12.0)
DEAD = Shape(producers=(2,), consumers=(1, 1), moods=("nack", "drop"), tries=2, work=0.0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> QueueScenario:
        return QueueScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


# --- taking


@mutant(
    "taken is gone",
    "kazoo Queue.get: the item is deleted when it is taken, and lost when its consumer dies",
    "done: True",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = front._take_one

    def take(names: Any, key: bytes, lease: int, candidate: Candidate, otherwise: Any) -> Txn:
        made = plain(names, key, lease, candidate, otherwise)
        return made._replace(then=(*made.then, Delete(names.job(candidate.standing.job))))

    swap(stack, front, "_take_one", take)


@mutant(
    "double dequeue",
    "etcd contrib/recipes: what was read is taken without asking whether it is still there",
    "stored is|not ready|two hands",
    Shape(consumers=(1, 1, 1), work=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = front._take_one

    def take(*args: Any) -> Txn:
        return plain(*args)._replace(compares=())

    swap(stack, front, "_take_one", take)


@mutant(
    "claim without a lease",
    "kazoo #498: the claim outlives its consumer, and the job is never given to another",
    "do not end|does not settle|left behind|cannot happen|still waits",
    DYING,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Front.taking

    def taking(self: Front, key: bytes, _lease: int, *rest: Any) -> Txn:
        return plain(self, key, 0, *rest)

    swap(stack, Front, "taking", taking)


@mutant(
    "giving up keeps the job",
    "user-demands #40: a take that is cancelled leaves its claim",
    "do not end|does not settle|left behind",
    Shape(producers=(3,), consumers=(2, 1), work=0.0),
    faults=Faults(break_off=0, delay=0, cancel=8, crash=0, close=0, pause=0, cut=0, restart=0, compact=0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def take(self: Taker, session: Any, terms: Any, own: Any) -> Any:
        port: Any = self._port
        ticket = port.ticket(session, self.names.takers)
        port.keeper._ledger._strike(ticket)
        patience = Patience(port, terms.deadline, session)
        grip = await self._take_there(ticket, self._page, patience)
        if isinstance(grip, Page):
            grip = await self._wait_in_line(ticket, terms)
        job = own(grip)
        port.keeper._ledger._tickets[ticket.key] = ticket
        port.hold(ticket, job)
        return job

    swap(stack, Taker, "_take_with", take)


@mutant(
    "the page is the queue",
    "a job with an old slot is taken as soon as a page shows it, before jobs that were put earlier",
    "was taken before",
    Shape(producers=(4, 4), consumers=(1,), staleness=20, page=2, work=0.0),
    Shape(producers=(4, 4), consumers=(1,), staleness=20, page=1, work=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = front._sure

    def sure(names: Any, ready: Any) -> Any:
        return plain(names, replace(ready, more=False))

    swap(stack, front, "_sure", sure)


@mutant(
    "what came back is not seen",
    "who has an old page takes the next job though an earlier one came back",
    "was taken before",
    BACK,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Front.taking

    def taking(self: Front, *args: Any) -> Txn:
        made = plain(self, *args)
        return made._replace(compares=tuple(each for each in made.compares if each.key != self.names.returns))

    swap(stack, Front, "taking", taking)


@mutant(
    "a better one is not seen",
    "who has an old page takes its first job though one of a better priority was put since",
    "was taken before",
    Shape(producers=(3, 3), consumers=(1, 1), priorities=(1, 200), work=1.0, pause=0.7),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Front.taking

    def taking(self: Front, *args: Any) -> Txn:
        made = plain(self, *args)
        return made._replace(compares=tuple(each for each in made.compares if not each.range_end))

    swap(stack, Front, "taking", taking)


@mutant(
    "a lost answer is a lost job",
    "the answer to a claim is lost, and the job stays with somebody who does not know that he has it",
    "do not end|does not settle|still waits",
    Shape(producers=(2,), consumers=(1,), work=0.0),
    faults=Faults(break_off=8, delay=0, cancel=0, crash=0, close=0, pause=0, cut=0, restart=0, compact=0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Front.taking

    def taking(self: Front, key: bytes, lease: int, page: Page) -> Txn:
        made = plain(self, key, lease, page)
        return made._replace(otherwise=(Get(key + b"!"), *made.otherwise[1:]))

    swap(stack, Front, "taking", taking)


@mutant(
    "the answer within",
    "the fence is read from the answer to the nested transaction, which tells no revision unless it is the first",
    "is told",
    Shape(producers=(4,), consumers=(1, 1, 1), work=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Front.taken

    def taken(self: Front, page: Page, result: Any) -> Any:
        found = plain(self, page, result)
        return found and replace(found, fence=found.fence if result.results[0].succeeded else 0)

    swap(stack, Front, "taken", taken)


# --- waiting


@mutant(
    "watch from now",
    "python-etcd3 #1107: the watch begins when it is made, not after the revision that was read",
    "waits; ready",
    Shape(producers=(1, 1), consumers=(1, 1), pause=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Taker._news

    async def news(self: Taker, page: Page, *rest: Any) -> Any:
        return await plain(self, replace(page, revision=-1), *rest)

    swap(stack, Taker, "_news", news)


@mutant(
    "the dead are not missed",
    "who waits looks for new jobs only, and not for those whose consumer died",
    "waits; ready \\[\\], orphans \\['",
    Shape(producers=(2,), consumers=(1, 1, 1), work=12.0, hold=6.0, tries=2),
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Taker, "_lost_its_consumer", lambda self, batch: False)


@mutant(
    "due and nobody comes",
    "who waits does not know when the first delayed job is due",
    "waits; ready .*due \\['",
    LATER,
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Taker, "_until", lambda self, first_due, deadline: deadline)


@mutant("too early", "delayed jobs are given out before their time", "not due by anybody's clock", LATER)
def _(stack: contextlib.ExitStack) -> None:
    plain = Taker._now
    swap(stack, Taker, "_now", lambda self: plain(self) + 3000)


# --- settling


def at_every_step(fault: str, client: int, shape: Shape, lateness: int = 0) -> Callable[[int], Any]:
    """One undisturbed run but for one fault: at its first step, at its second, ..."""

    def make(choices: Any) -> QueueScenario:
        return QueueScenario(choices, shape)

    return lambda seed: sweep.scenario(sweep.Case(fault, client, seed + 1, lateness), make)


@MUTANTS.enter(
    "ack by name",
    "the job is deleted by its name, by a consumer that lost it, while another has it",
    "which .* took and stands in",
    at_every_step("revoke", 1, Shape(producers=(1,), consumers=(1, 1), work=2.0)),
)
def _(stack: contextlib.ExitStack) -> None:
    async def settle(self: Settling, ops: Any, deadline: float | None, *, is_done: Any) -> bool:
        grip: Any = self.grip
        then = (Delete(grip.place.ticket.key), Delete(self._names.taken_job(grip.standing.job)), *ops)
        await Patience(self._port, deadline).txn(Txn(then=then))
        return True

    swap(stack, Settling, "_settle", settle)


@mutant(
    "back at the end",
    "a job that is given back is put again, behind all that came since",
    "was taken before",
    BACK,
)
def _(stack: contextlib.ExitStack) -> None:
    def back(self: Tending, standing: Standing, reason: str) -> Put:
        fresh = replace(standing, order=0, seen=standing.order)
        return Put(self._names.ready_at(fresh), fresh.ready_value())

    swap(stack, Tending, "back_to", back)


@mutant(
    "one try more",
    "a job is dead after one try too many",
    "comes back after",
    DEAD,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tending.back_to

    def back(self: Tending, standing: Standing, reason: str) -> Put:
        late = copy(self)
        late.tries = self.tries and self.tries + 1
        return plain(late, standing, reason)

    swap(stack, Tending, "back_to", back)


@mutant(
    "held without end",
    "a consumer that is too slow believes that it has the job when it was given to another",
    "two hands",
    Shape(producers=(2,), consumers=(1, 1), work=12.0, hold=6.0, tries=3),
)
def _(stack: contextlib.ExitStack) -> None:
    def extend(self: JobBase, hold: Any = None) -> None:
        if self._settling.hold is not None:
            self.port.limit(self._place.ticket, self.port.now() + self._settling.hold, lambda: None)

    swap(stack, JobBase, "extend", extend)


# --- putting


@mutant(
    "put again",
    "jetcd #1444: a put whose answer was lost is sent again, though the job was there",
    "put twice",
    Shape(producers=(3,), consumers=(1,), work=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    there = property(lambda self: Compare(self.ticket.key, Attribute.CREATE, Relation.GREATER, 0))
    swap(stack, Receipt, "mine", there)


@MUTANTS.enter(
    "put if it is missing",
    "a put is sent again if its job is not there, though it was taken and done meanwhile",
    "put twice",
    at_every_step("lost answer", 0, Shape(producers=(2,), consumers=(1,), work=0.0)),
)
def _(stack: contextlib.ExitStack) -> None:
    there = property(lambda self: missing(b"coord/queues/q/jobs/" + self.id.encode()))
    swap(stack, Receipt, "mine", there)


# --- keys, room, gates


KEYS = Shape(producers=(3, 3), consumers=(1,), keys=("a", "b"), work=0.0)
ROOM = Shape(producers=(2, 2, 2), consumers=(1,), capacity=2, work=1.0)


@mutant("looks first, puts then", "two producers see that a key is new, and both put", "is remembered until", KEYS)
def _(stack: contextlib.ExitStack) -> None:
    plain = Putter._request

    def request(self: Putter, *args: Any) -> Txn:
        made = plain(self, *args)
        return made._replace(compares=tuple(each for each in made.compares if b"/seen/" not in each.key))

    swap(stack, Putter, "_request", request)


@mutant(
    "forgets what is new",
    "who cleans up what is over deletes a key that was put again",
    "is remembered until",
    replace(KEYS, producers=(5, 5), pause=3.0),
    replace(KEYS, producers=(5, 5), pause=5.0, skew=4.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Putter._forget

    async def forget(self: Putter, fades: Any, patience: Any) -> None:
        await plain(self, fades, patience)
        if fades:
            await patience.txn(Txn(then=tuple(Delete(self._names.seen_of(fade.key)) for fade in fades[:1])))

    swap(stack, Putter, "_forget", forget)


@mutant("counts and puts", "producers that count at the same time all put", "there is room for", ROOM)
def _(stack: contextlib.ExitStack) -> None:
    async def put(self: Putter, session: Any, offer: Any, terms: Any) -> str:
        await self._wait_for_room(Patience(self._port, terms.deadline, session), terms)
        return await self._put(session, offer, terms, ())

    swap(stack, Putter, "_put_in_turn", put)


@MUTANTS.enter(
    "the turn is not compared",
    "a put that comes late adds a job after its producer gave up, and another put one in its place",
    "there is room for",
    at_every_step("cancel", 0, Shape(producers=(1, 1), consumers=(1,), capacity=1, work=12.0), lateness=3),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Putter._request

    def request(self: Putter, receipt: Any, offer: Any, _extra: Any, known: Any) -> Txn:
        kept.append(receipt)  # as a cycle would: its key then outlives the turn
        return plain(self, receipt, offer, (), known)

    kept: list[Any] = []
    stack.callback(kept.clear)
    swap(stack, Putter, "_request", request)


@mutant(
    "through a closed gate",
    "who saw the gate open takes a job after it was closed",
    "while the gate was closed",
    Shape(producers=(6,), consumers=(1,), gate=Gate(), controls=2, work=1.1),
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, GatedFront, "conditions", lambda self: ())


@MUTANTS.enter(
    "opens what was closed",
    "who saw what the gate waits for opens it after it was closed",
    "opened by itself",
    at_every_step(
        "late request",
        2,
        Shape(producers=(2,), consumers=(1,), gate=Gate(count=2), controls=2, work=0.0, pause=1.0),
        lateness=3,
    ),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = GatedFront.opening

    def opening(self: GatedFront, page: Page) -> Txn:
        return plain(self, page)._replace(compares=())

    swap(stack, GatedFront, "opening", opening)
