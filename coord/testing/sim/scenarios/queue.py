"""A queue in the simulator: who puts, who takes, and what must be true whatever happens.

1. Whatever `put` said is there is done once, or still stands in the queue; nothing is put twice (`queue_model`).
2. Jobs are taken in their order, come back to their old place, and are dead after exactly their tries (`queue_model`).
3. No two consumers provably have one job at the same instant.
4. A job leaves the queue only by an `ack` of a consumer that was given it.
5. Nobody waits while a job is ready, due, or in the hands of somebody who is gone.
6. When producers and consumers are gone, nothing of theirs is left; if a consumer stayed, no job is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from coord.errors import (
    CallTimeout,
    ClosedError,
    CoordError,
    JobLost,
    NotOwner,
    OutcomeUnknown,
    QueueEmpty,
    QueueFull,
)
from coord.model import Event, EventKind
from coord.port import Port
from coord.recipes.ownership.turn import Terms
from coord.recipes.queues.dead import Operating
from coord.recipes.queues.job import JobBase
from coord.recipes.queues.names import NORMAL, Content, Names
from coord.recipes.queues.page import CHAIN, CLOSED, OPEN, PAGE, Front, Gate, GatedFront
from coord.recipes.queues.putting import Offer, Putter
from coord.recipes.queues.settling import Settling
from coord.recipes.queues.taker import Grip, Taker
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.scenarios.queue_model import MIDNIGHT, QueueModel, Rules
from coord.testing.sim.world import Faults, Program, SimCancelled, SimClient, Violation

QUEUE: Final = "q"

MakeTaker = Callable[[Port, Front, int | None, Callable[[], float]], Taker]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        producers: jobs that each producer puts; each is a client.
        pause: seconds before each of them.
        consumers: programs of each consuming client.
        patience: seconds after which a consumer looks whether anything can still come.
        work: seconds a consumer has a job.
        moods: what consumers do with a job, by chance: "ack", "nack", "later", "drop".
        tries: after how many a job is dead, None for never.
        revivals: how many dead jobs are put back, or discarded.
        hold: seconds for which a job may be held, None for ever.
        delays: seconds after which a put job is due, by chance.
        priorities: by chance.
        keys: under which jobs are put, by chance; empty for none.
        window: seconds for which a key is remembered.
        capacity: how many jobs there may be, None for no limit.
        gate: what the gate waits for, None for no gate.
        controls: how often a controller says go, each time a while after the gate was closed.
        staleness: by how many revisions what a producer saw may be behind.
        page: slots that are read at once.
        chain: jobs that are tried at once.
        skew: seconds by which the wall clocks of clients may differ.
    """

    producers: tuple[int, ...] = (2,)
    pause: float = 0.0
    consumers: tuple[int, ...] = (1, 1)
    patience: float = 15.0
    work: float = 1.0
    moods: tuple[str, ...] = ("ack",)
    tries: int | None = None
    revivals: int = 0
    hold: float | None = None
    delays: tuple[float, ...] = (0.0,)
    priorities: tuple[int, ...] = (NORMAL,)
    keys: tuple[str, ...] = ("",)
    window: float = 8.0
    capacity: int | None = None
    gate: Gate | None = None
    controls: int = 0
    staleness: int = 0
    page: int = PAGE
    chain: int = CHAIN
    skew: float = 0.0


class SimJob(JobBase):
    """A job without threads."""

    __slots__ = ("_settling",)

    def __init__(self, port: Port, settling: Settling) -> None:
        self._settling = settling
        super().__init__(port, QUEUE, settling.grip.place, None)


class QueueScenario(Scenario):
    """One run: programs that put, programs that take, and the checks. `entered` has the ids of deliveries."""

    step_limit = 12_000
    settle_seconds = 90.0

    def __init__(
        self,
        choices: Choices,
        shape: Shape,
        *,
        faults: Faults | None = None,
        budget: int = 0,
        make_taker: MakeTaker = Taker,
    ) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self.names = Names(QUEUE)
        rules = Rules(shape.tries, shape.capacity, shape.skew, shape.gate)
        self.model = QueueModel(self.names.root, rules, self.world.clock.now)
        self.held: list[SimJob] = []  # given out and not settled
        self.acking: set[str] = set()  # jobs that somebody who had them acknowledged, or that were discarded
        self.stored: dict[bytes, str] = {}  # what put said is there
        self._make_taker = make_taker
        self._front = (
            Front(self.names, page=shape.page, chain=shape.chain)
            if shape.gate is None
            else GatedFront(self.names, shape.gate, page=shape.page, chain=shape.chain)
        )
        self._skews: dict[int, float] = {}
        self.world.server.listeners.append(self._commit)
        self.world.idle_checks.append(self._nobody_waits_in_vain)
        self.putting: list[Program] = []
        self.taking: list[Program] = []
        for number, count in enumerate(shape.producers):
            client = self._client()
            self.putting.append(client.start(self._produce(client, number, count)))
        if shape.revivals:
            client = self._client()
            self.putting.append(client.start(self._operate(client)))
        if shape.controls:
            client = self._client()
            self.putting.append(client.start(self._control(client)))
        for programs in shape.consumers:
            client = self._client()
            self.taking += [client.start(self._consume(client)) for _ in range(programs)]

    def _client(self) -> SimClient:
        client = self.world.add_client()
        self._skews[client.index] = self.shape.skew * self.world.choices.number(3) / 2 if self.shape.skew else 0.0
        return client

    def _wall(self, client: SimClient) -> float:
        return MIDNIGHT + self.world.clock.now() + self._skews[client.index]

    # --- what programs do

    async def _produce(self, client: SimClient, number: int, count: int) -> None:
        port, choose = client.port, self.world.choices.number
        shape = self.shape
        putter = Putter(port, self.names, lambda: self._wall(client), capacity=shape.capacity, window=shape.window)
        try:
            for position in range(count):
                if self.shape.pause:
                    await port.sleep(until=port.now() + self.shape.pause)
                value = b"%d/%d" % (number, position)
                delay = self.shape.delays[choose(len(self.shape.delays))]
                due = self._wall(client) + delay if delay else None
                priority = self.shape.priorities[choose(len(self.shape.priorities))]
                key = shape.keys[choose(len(shape.keys))] or None
                # The last job of each producer is what a gate may wait for.
                task = shape.gate.task if shape.gate is not None and position == count - 1 else None
                facts = {"key": key} if key else {}
                if task:
                    facts["named"] = task
                self._grow_old(putter)
                try:
                    put = await putter.put(
                        Offer(Content(value, facts), priority, due, key, task), Terms(self.world.ttl, port.now() + 30.0)
                    )
                    self._was_put(value, key, put)
                except (CallTimeout, OutcomeUnknown, QueueFull):
                    self.timeouts += 1
        except (SimCancelled, ClosedError) as end:
            ended = type(end)
        else:
            return
        # What was thrown knew the frames, and with them the receipts, which are to be collected.
        del putter
        raise ended("ended")

    def _grow_old(self, putter: Putter) -> None:
        """An old revision is as right as a new one, and makes slots that lie far in front of their order."""
        for receipt in putter._receipts:
            receipt.seen -= self.world.choices.number(1 + min(receipt.seen - 1, self.shape.staleness))

    def _was_put(self, value: bytes, key: str | None, job: str) -> None:
        if job not in self.model.jobs:
            raise Violation(f"{value!r} was put as {job}, which is not there")
        if self.model.jobs[job].value == value:
            self.stored[value] = job
        elif key is None or self.model.jobs[job].key != key:
            raise Violation(f"{value!r} was put under {key!r} as {job}, which is {self.model.jobs[job]}")

    async def _control(self, client: SimClient) -> None:
        port = client.port
        for _ in range(self.shape.controls):
            for state in (CLOSED, OPEN):
                self.model.told = self.model.told or state == OPEN
                try:
                    await Operating(port, self.names, port.now() + 30.0).set_gate(state)
                    self.model.told = state == OPEN
                except (CallTimeout, OutcomeUnknown):
                    self.timeouts += 1
                await port.sleep(until=port.now() + 3.0)

    async def _operate(self, client: SimClient) -> None:
        port = client.port
        for _ in range(self.shape.revivals):
            await port.sleep(until=port.now() + 4.0)
            operating = Operating(port, self.names, port.now() + 30.0)
            try:
                for dead in (await operating.dead())[:1]:
                    if self.world.choices.number(3):
                        await operating.revive(dead.id)
                    else:
                        self.acking.add(dead.id)
                        await operating.discard(dead.id)
            except (CallTimeout, OutcomeUnknown):
                self.timeouts += 1

    async def _consume(self, client: SimClient) -> None:
        port = client.port
        taker = self._make_taker(port, self._front, self.shape.tries, lambda: self._wall(client))
        while self._more_may_come():
            try:
                job = await taker.take(
                    Terms(self.world.ttl, port.now() + self.shape.patience), lambda grip: self._own(client, taker, grip)
                )
            except (QueueEmpty, CallTimeout):
                self.timeouts += 1
                continue
            self._given(job)
            try:
                if self.shape.work:
                    await port.sleep(until=port.now() + self.shape.work)
                await self._settle(job)
            except CoordError as error:
                if isinstance(error, ClosedError):
                    raise
            finally:
                if job in self.held:
                    self.held.remove(job)
                await job._give_back()

    def _more_may_come(self) -> bool:
        if any(message.late for message in self.world.net.messages):
            return True
        left = [job for job in self.model.jobs.values() if not job.done and "dead" not in job.places]
        if not self._goes_on:
            left = []
        return bool(left) or not all(program.over for program in self.putting)

    @property
    def _goes_on(self) -> bool:
        """The gate is open, or is about to be opened."""
        return self.model.open or self.model.met

    def _own(self, client: SimClient, taker: Taker, grip: Grip) -> SimJob:
        return SimJob(
            client.port,
            Settling(client.port, self.names, taker.tending, grip, lambda: self._wall(client), hold=self.shape.hold),
        )

    async def _settle(self, job: SimJob) -> None:
        mood = self.shape.moods[self.world.choices.number(len(self.shape.moods))]
        if mood == "ack":
            self.acking.add(job.id)
            try:
                await job._ack(20.0)
            except (JobLost, NotOwner) as lost:
                self._was_lost(job, lost)
        elif mood == "drop":
            return
        else:
            self.held.remove(job)  # who gives it back has it no longer, whenever the answer comes
            await job._nack(3.0 if mood == "later" else 0, "no luck", 20.0)

    def _was_lost(self, job: SimJob, lost: CoordError) -> None:
        there = self.world.server.create_revision(job.key)
        if there and _proven_until(job) > self.world.clock.now() and job.lease not in self.world.revoked:
            raise Violation(f"{job!r} is there, and its consumer is told: {lost}")

    # --- what must be true

    def _given(self, job: SimJob) -> None:
        job.extend()
        self.entered.append(job.id)
        if self.model.jobs[job.id].value != job.value:
            raise Violation(f"{job!r} is {job.value!r}, put was {self.model.jobs[job.id].value!r}")
        if job.lease not in self.world.revoked and _proven_until(job) <= self.world.clock.now():
            raise Violation(f"{job!r} was given out without a live lease")
        self.held.append(job)

    def _commit(self, revision: int, events: list[Event]) -> None:
        before = {name for name, job in self.model.jobs.items() if job.done}
        for event in events:
            due = self.names.due_of(event.item.key) if event.kind is EventKind.DELETE else None
            if due is not None and due / 1000 > MIDNIGHT + self.world.clock.now() + self.shape.skew:
                raise Violation(f"{event.item.key!r} is not due by anybody's clock")
        self.model.commit(revision, events)
        for name, job in self.model.jobs.items():
            if job.done and name not in before and name not in self.acking:
                raise Violation(f"job {name} left the queue and nobody acknowledged it")

    def check(self) -> None:
        """No two consumers provably have one job."""
        now, revoked = self.world.clock.now(), self.world.revoked
        having = [job.id for job in self.held if _proven_until(job) > now and job.lease not in revoked]
        if len(having) != len(set(having)):
            raise Violation(f"one job in two hands: {self.held}")

    def _nobody_waits_in_vain(self) -> None:
        world = self.world
        for client in world.clients:
            if client.stopped or client.closing or world.clock.now() < client.cut_until:
                continue
            if any(_wakes_soon(program, world.clock.now()) for program in client.programs):
                continue
            if any(watcher.spec.key == self.names.ready for watcher in client.port.hub.watchers.values()):
                late = [name for name in self.model.standing("later") if self._overdue(client, name)]
                ready, orphans = self.model.standing("ready") if self._goes_on else [], self.model.orphans
                if ready or orphans or late:
                    raise Violation(f"client {client.index} waits; ready {ready}, orphans {orphans}, due {late}")

    def _overdue(self, client: SimClient, name: str) -> bool:
        keys = self.world.server.keys(self.names.later)
        dues = [self.names.due_of(key) or 0 for key in keys if key.endswith(b"-" + name.encode())]
        return any(due / 1000 + 0.01 < self._wall(client) for due in dues)

    def finish(self) -> None:
        """If a consumer stayed to the end, everything is done.

        Raises:
            Violation: it is not, or what was put is not there.
        """
        for value, name in self.stored.items():
            if self.model.values.get(value) != name:
                raise Violation(f"{value!r} was put as {name}, and is not there")
        stayed = [program for program in self.taking if program.over and program.error is None]
        stayed = [program for program in stayed if not program.client.crashed]
        left = [name for place in ("ready", "later", "taken") for name in self.model.standing(place)]
        if stayed and left and self._goes_on:
            raise Violation(f"left in the queue: {left}")

    @property
    def left_behind(self) -> list[bytes]:
        """Keys of those who took, waited and put; there must be none once a run has settled."""
        server, names = self.world.server, self.names
        places = (names.takers, names.line, names.producers, names.room)
        return [key for place in places for key in server.keys(place + b"/")]


def _wakes_soon(program: Program, now: float) -> bool:
    """True for one that waits for a time that is a moment away."""
    return program.waiter is not None and program.waiter.until is not None and program.waiter.until < now + 0.01


def _proven_until(job: SimJob) -> float:
    """Until when the consumer believes that it has the job; asked without changing anything."""
    session: Any = job._place.ticket.session
    proven: float = session.proven_until
    return min(proven, job._settling.until)


def build(seed: int, **changes: Any) -> QueueScenario:
    """The queue under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        producers=chance.choice(((2,), (1, 1), (2, 2), (5,))),
        pause=chance.choice((0.0, 0.0, 2.0)),
        consumers=chance.choice(((1, 1), (2,), (1,), (1, 1, 1), (2, 1))),
        work=chance.choice((0.0, 0.0, 1.0, 12.0)),
        moods=chance.choice((("ack",), ("ack",), ("ack", "nack"), ("ack", "later", "drop"), ("nack", "drop", "later"))),
        tries=chance.choice((None, 3, 2)),
        revivals=chance.choice((0, 2)),
        hold=chance.choice((None, None, 6.0)),
        delays=chance.choice(((0.0,), (0.0,), (0.0, 5.0), (2.0, 9.0))),
        priorities=chance.choice(((NORMAL,), (NORMAL,), (1, NORMAL, 255))),
        keys=chance.choice((("",), ("",), ("", "a", "b"))),
        capacity=chance.choice((None, None, 1, 3)),
        gate=chance.choice((None, None, Gate(count=2), Gate(task="start"), Gate())),
        staleness=chance.choice((0, 0, 3, 20)),
        page=chance.choice((PAGE, 2, 1)),
        chain=chance.choice((CHAIN, 2, 1)),
        skew=chance.choice((0.0, 4.0)),
    )
    if shape.tries is None and ("ack" not in shape.moods or (shape.hold or shape.work) < shape.work):
        shape = replace(shape, tries=3)  # or it would never end
    if shape.gate is not None:
        shape = replace(shape, controls=chance.choice((0, 1, 2)))
    if shape.capacity is not None:
        shape = replace(shape, revivals=0)  # which ask for no room
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return QueueScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(7), **changes)
