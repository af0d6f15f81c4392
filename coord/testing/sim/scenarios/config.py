"""A configuration in the simulator: who changes it, who looks, and what must be true whatever happens.

1. What is shown is exactly what was stored at its revision, valid, and never half of a change; revisions grow.
2. When nothing is under way any more, everybody who can reach the server shows the newest valid state, and says so if
   what is stored is not valid.
3. No change is lost or made twice: counters add up, a change that was answered was made, one that was refused was not.
4. The history has every change exactly once, with the state that it made; what strangers wrote is in it before the next
   change. A rollback makes exactly the state of its revision.
5. Nothing is left behind: the history has at most `keep` entries.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coord.errors import CallTimeout, ConfigInvalid, OutcomeUnknown, RevisionNotFound
from coord.model import Event, EventKind, KeyValue
from coord.ops import Delete, Get, Op, Put, Txn
from coord.port import Port
from coord.recipes.config.changing import amend
from coord.recipes.config.layers import Layers
from coord.recipes.config.shape import shape_of
from coord.recipes.config.state import Follower
from coord.recipes.config.stored import Entry, Stamp, changed_fields, parse_entry, place_of
from coord.recipes.config.updating import Decide, Snapshot, Update, entries, entry_of
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.world import Faults, Program, SimClient, Violation

PLACE = place_of("app")
STRANGE_KEY = PLACE.prefix + b"/no/field"
LONGEST = 100  # of a level

State = Mapping[str, str]
MakeFollower = Callable[[Port], Follower["Settings"]]


@dataclass(frozen=True)
class Settings:
    """What is configured. `twin` is always changed with `count`; a stranger writes `level`, which may not be valid."""

    count: int = 0
    twin: int = 0
    level: int = 0

    def __post_init__(self) -> None:
        if self.level >= LONGEST:
            raise ValueError(f"level is below {LONGEST}")


def layers() -> Layers:
    """The model alone."""
    return Layers(Settings, shape_of(Settings), (), lambda _: None)


def follower(port: Port) -> Follower[Settings]:
    """A follower of the configuration."""
    return Follower(port, PLACE, layers())


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        writers: clients that count up.
        changes: how often each does.
        rollbacks: the first writer goes back to some revision after its changes.
        strangers: what others do to `level`, one after the other: a number, or empty to delete it.
        followers: clients that follow it.
        keep: entries that the history keeps.
        hold: seconds between the changes.
        patience: seconds that one change may take.
    """

    writers: int = 2
    changes: int = 2
    rollbacks: bool = False
    strangers: tuple[str, ...] = ("1", "", "500", "2")
    followers: int = 1
    keep: int = 100
    hold: float = 1.0
    patience: float = 60.0


@dataclass(slots=True)
class Attempt:
    """One change that somebody asked for."""

    made: list[int] = field(default_factory=list)  # revisions at which it was
    answer: str = "unknown"
    goal: State | None = None  # of a rollback


class ConfigScenario(Scenario):
    """One run: programs that change it, programs that follow it, and the checks. `entered` has the changes made."""

    step_limit = 8000
    settle_seconds = 90.0

    def __init__(
        self,
        choices: Choices,
        shape: Shape,
        *,
        faults: Faults | None = None,
        budget: int = 0,
        make_follower: MakeFollower = follower,
    ) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._make_follower = make_follower
        self._past: list[tuple[int, State]] = [(0, {})]  # what was stored, and since which revision
        self._history: list[Entry] = []  # all of it, as the commits wrote it
        self._attempts: dict[str, Attempt] = {}
        self._followers: list[tuple[SimClient, Follower[Settings]]] = []
        self.world.server.listeners.append(self._remember)
        self.world.server.put(STRANGE_KEY, b"\xff")
        self.world.idle_checks.append(self._views_are_the_present)
        for number in range(shape.writers):
            client = self.world.add_client()
            client.start(self._write(client.port, number))
        if shape.strangers:
            client = self.world.add_client()
            client.start(self._meddle(client.port))
        self._ending = list(self.world.programs)
        for _ in range(shape.followers):
            client = self.world.add_client()
            client.start(self._follow(client))

    # --- what programs do

    async def _write(self, port: Port, number: int) -> None:
        for turn in range(self.shape.changes):
            await self._change(port, f"{number}-{turn}", _count_up)
            await port.sleep(until=port.now() + self.shape.hold)
        if self.shape.rollbacks and number == 0:
            await self._roll_back(port)

    async def _roll_back(self, port: Port) -> None:
        try:
            known = await entries(port, PLACE, port.now() + self.shape.patience)
            goal = entry_of(known, known[0].revision if known else 0)
        except (CallTimeout, RevisionNotFound):
            return
        self._attempts["rollback"] = Attempt(goal=self._stored(goal.revision))
        await self._change(port, "rollback", lambda _: goal.texts)

    async def _change(self, port: Port, name: str, decide: Decide) -> None:
        attempt = self._attempts.setdefault(name, Attempt())
        update = Update(port, PLACE, Stamp(name, name, 0.0), self.shape.keep, port.now() + self.shape.patience)
        try:
            written = await update.run(decide)
        except (CallTimeout, ConfigInvalid):
            attempt.answer = "refused"
        except OutcomeUnknown:
            self.timeouts += 1
        else:
            attempt.answer = "made"
            self.entered.append(name)
            if written.before != written.after and attempt.made != [written.revision]:
                raise Violation(f"change {name} was answered with revision {written.revision}, made {attempt.made}")

    async def _meddle(self, port: Port) -> None:
        """What etcdctl would do; nothing of it is repeated."""
        for level in self.shape.strangers:
            op: Op = Put(PLACE.key("level"), level.encode()) if level else Delete(PLACE.key("level"))
            try:
                await port.txn(Txn(then=(op,)), deadline=port.now() + self.shape.patience)
            except (CallTimeout, OutcomeUnknown):
                pass
            await port.sleep(until=port.now() + self.shape.hold)

    async def _follow(self, client: SimClient) -> None:
        follower = self._make_follower(client.port)
        self._followers.append((client, follower))
        revision = 0
        try:
            while True:
                await follower.next(None)
                if follower.seen.newest < revision:
                    raise Violation(f"a view went back from revision {revision}")
                revision = follower.seen.newest
                self._is_exact(follower)
        finally:
            follower.close()

    # --- what must be true of every commit

    def _remember(self, revision: int, events: list[Event]) -> None:
        before = self._past[-1][1]
        after = dict(before)
        made: list[Entry] = []
        for event in events:
            key = event.item.key
            if key.startswith(PLACE.prefix):
                path = PLACE.path(key)
                if path is None:
                    continue
                after.pop(path, None)
                if event.kind is EventKind.PUT:
                    after[path] = event.item.value.decode()
            elif PLACE.number(key) and event.kind is EventKind.PUT:
                made.append(_parsed(event.item))
        self._past.append((revision, after))
        if made:
            self._made(revision, made, before, after)
        elif changed_fields(before, after) not in ((), ("level",)):
            raise Violation(f"revision {revision} changes {changed_fields(before, after)} and is not in the history")

    def _made(self, revision: int, made: list[Entry], before: State, after: State) -> None:
        *found, own = made
        last = self._history[-1].texts if self._history else {}
        if [entry.texts for entry in found] != ([before] if last != before else []):
            raise Violation(f"what was there before revision {revision}, {before}, is not in the history: {found}")
        if any(self._stored(entry.revision) != entry.texts for entry in found):
            raise Violation(f"{found} were not the state at their revision")
        if own.texts != after or own.revision != revision:
            raise Violation(f"the history says {own}, revision {revision} is {after}")
        if set(own.changed) != set(changed_fields(before, after)):
            raise Violation(f"the history says that {own.changed} changed, it was {changed_fields(before, after)}")
        self._history += made
        attempt = self._attempts[own.author]
        attempt.made.append(revision)
        if len(attempt.made) > 1 or attempt.answer == "refused":
            raise Violation(f"change {own.author} was made at {attempt.made}, its answer is {attempt.answer!r}")
        if attempt.goal is not None:
            if after != attempt.goal:
                raise Violation(f"a rollback to {attempt.goal} made {after}")
        elif _counts(after) != (_counts(before)[0] + 1,) * 2:
            raise Violation(f"change {own.author} made {after} of {before}: an update is lost, or half of one")

    # --- what must be true of every view

    def _stored(self, revision: int) -> State:
        return self._past[bisect_right(self._past, revision, key=lambda entry: entry[0]) - 1][1]

    def _is_exact(self, follower: Follower[Settings]) -> None:
        seen = follower.seen
        if PLACE.texts(seen.items.values()) != self._stored(seen.newest):
            raise Violation(f"a view at revision {seen.newest} is not {self._stored(seen.newest)}: {seen.items}")
        if seen.valid:
            stored = self._stored(seen.revision)
            count, twin = _counts(stored)
            if not _is_valid(stored) or seen.texts != stored or (seen.value.count, seen.value.twin) != (count, twin):
                raise Violation(f"a view shows {seen.value} for revision {seen.revision}, which is {stored}")
        if (seen.error is None) != _is_valid(self._stored(seen.newest)):
            raise Violation(f"a view says {seen.error!r} of {self._stored(seen.newest)}")

    def _views_are_the_present(self) -> None:
        """Nothing is under way: whoever waits for a change has missed none."""
        for client, follower in self._followers:
            if client.stopped or client.closing or self.world.clock.now() < client.cut_until:
                continue
            if follower._watch is not None:
                self._is_present(follower)

    def _is_present(self, follower: Follower[Settings]) -> None:
        seen, now = follower.seen, self._past[-1][1]
        newest = [state for _, state in self._past if _is_valid(state)][-1]
        if PLACE.texts(seen.items.values()) != now:
            raise Violation(f"a view waits at {seen}, stored is {now}")
        if seen.error is None and seen.texts != newest:
            raise Violation(f"a view shows {seen.texts}, the newest valid state is {newest}")

    # --- running

    def waits_for_ever(self, program: Program) -> bool:
        """Followers do."""
        return program not in self._ending

    def finish(self) -> None:
        """What was answered was made, the history is what was made, and everybody sees it.

        Raises:
            Violation: it is not.
        """
        for name, attempt in self._attempts.items():
            if attempt.answer == "made" and not attempt.made and attempt.goal is None:
                raise Violation(f"change {name} was answered and never made")
        stored = [_parsed(item) for item in self._history_items()]
        if stored != self._history[-len(stored) :] or len(stored) != min(len(self._history), self.shape.keep):
            raise Violation(f"the history is {stored}, made was {self._history}")
        self._views_are_the_present()

    def _history_items(self) -> list[KeyValue]:
        return list(self.world.server.range(Get(PLACE.entry(0), PLACE.history_end)).items)

    @property
    def left_behind(self) -> list[bytes]:
        """The keys of the history beyond those that it keeps."""
        return sorted(self.world.server.keys(PLACE.history))[: -self.shape.keep]

    def settled(self) -> bool:
        """Nothing is under way any more, and every view has caught up."""
        world, now = self.world, self.world.clock.now()
        if any(message.late or message.write for message in world.net.messages):
            return False
        alive = [client for client in world.clients if not client.crashed and not client.closing]
        if any(client.stopped or now < client.cut_until for client in alive):
            return False
        going = [client for client in alive if any(not program.over for program in client.programs)]
        views = [view for client, view in self._followers if client in going]
        return all(PLACE.texts(view.seen.items.values()) == self._past[-1][1] for view in views)

    def left(self) -> str:
        """What is stored and seen."""
        return f"stored {self._past[-1]}, views {[view.seen for _, view in self._followers]}, {self.world.net.messages}"


def _count_up(found: Snapshot) -> State:
    """What a function of the present state would do; what is there besides need not be valid."""
    count = int(found.texts.get("count", "0"))
    return amend(found.texts, {"count": count + 1, "twin": count + 1}, shape_of(Settings))


def _counts(state: State) -> tuple[int, int]:
    return int(state.get("count", "0")), int(state.get("twin", "0"))


def _is_valid(state: State) -> bool:
    return int(state.get("level", "0")) < LONGEST


def _parsed(item: KeyValue) -> Entry:
    entry = parse_entry(item)
    if entry is None:
        raise Violation(f"{item} is no entry of a history")
    return entry


def build(seed: int, **changes: Any) -> ConfigScenario:
    """The configuration under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        writers=chance.choice((1, 2, 2, 3)),
        changes=chance.choice((1, 2, 3)),
        rollbacks=chance.choice((False, True)),
        strangers=chance.choice(((), ("1", ""), ("1", "", "1", ""), ("500", "2"), ("1", "", "500"))),
        followers=chance.choice((1, 1, 2)),
        keep=chance.choice((1, 2, 3, 100)),
        hold=chance.choice((0.0, 0.0, 1.0)),
        patience=chance.choice((6.0, 60.0)),
    )
    return ConfigScenario(RandomChoices(seed), shape, budget=chance.randrange(7), **changes)
