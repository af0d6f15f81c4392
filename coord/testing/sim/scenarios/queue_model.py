"""What a queue's keys must add up to, told by every commit; knows the layout and none of the recipe's programs.

1. A job is put once, and is gone once: by the commit of a consumer that has it.
2. Whatever was put and is not done stands in exactly one place: ready, later, taken or dead.
3. Who takes a job takes the first that is ready: by priority, then by the revision that put it or made it due.
4. A job that comes back has its old place.
5. It is dead after exactly as many tries as it has.
6. There are never more jobs than there is room for, and none of a key that was put within its window.
7. Nothing is taken while the gate is closed; it opens by itself only if what it waits for was there since it closed.
8. What says that a job is taken, and who has it, agree, unless he who had it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from coord.model import Event, EventKind
from coord.recipes.queues.page import Gate
from coord.testing.sim.world import Violation

MIDNIGHT: Final = 1_700_000_000.0
"""The wall clock when a run begins."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a queue is told to be.

    Attributes:
        tries: after how many a job is dead, None for never.
        capacity: how many jobs there may be, the dead not counted; None for no limit.
        skew: seconds by which wall clocks differ.
        gate: what the gate waits for, None for no gate.
    """

    tries: int | None = None
    capacity: int | None = None
    skew: float = 0.0
    gate: Gate | None = None


@dataclass(slots=True)
class JobModel:
    """One job."""

    value: bytes
    key: str = ""
    order: int = 0  # of the commit that made it ready first
    due: int = 0
    priority: int = 0
    tries: int = 0
    places: set[str] = field(default_factory=set)
    taker: str = ""
    done: bool = False

    @property
    def place(self) -> tuple[int, int, int]:
        """What decides who is first."""
        return (self.priority, self.order, self.due)


class QueueModel:
    """The jobs of one queue.

    Args:
        root: what its keys begin with.
        rules: what it is told to be.
        now: seconds of the world.
    """

    def __init__(self, root: bytes, rules: Rules, now: Callable[[], float]) -> None:
        self.root = root
        self.rules = rules
        self.limit = rules.tries
        self._now = now
        self._until: dict[str, int] = {}  # milliseconds of the wall clock for which each key is remembered
        self.tasks: dict[str, str] = {}
        self.open = rules.gate is None
        self.told = False  # somebody says go, or said so and it may still arrive
        self._met = False  # since the gate closed
        self.jobs: dict[str, JobModel] = {}
        self.values: dict[bytes, str] = {}
        self.takers: dict[str, str] = {}  # who has which job
        self.deliveries: list[str] = []

    def standing(self, place: str) -> list[str]:
        """The jobs in one place."""
        return [name for name, job in self.jobs.items() if place in job.places]

    @property
    def orphans(self) -> list[str]:
        """Taken by somebody who is gone."""
        return [name for name in self.standing("taken") if self.jobs[name].taker not in self.takers]

    def commit(self, revision: int, events: list[Event]) -> None:
        """Take one commit.

        Raises:
            Violation: it broke a promise.
        """
        ready = {name: self.jobs[name].place for name in self.standing("ready")}
        mine = [(event.item.key[len(self.root) :].decode(), event) for event in events if self._is_ours(event)]
        # What is deleted first: a job may go from one place to another in one commit.
        for path, event in sorted(
            mine, key=lambda each: (each[1].kind is EventKind.PUT, not each[0].startswith("jobs"))
        ):
            if event.kind is EventKind.PUT:
                self._put(path, event.item.value, revision, ready)
            else:
                self._delete(path)
        self._has_room()
        self._met = self._met or self.met
        for name, job in self.jobs.items():
            if len(job.places) != (not job.done):
                raise Violation(f"job {name} stands in {sorted(job.places)}, done: {job.done}")
        for taker, name in self.takers.items():
            job = self.jobs[name]
            if job.taker != taker or "taken" not in job.places:
                raise Violation(f"{taker} has job {name}, which {job.taker} took and stands in {sorted(job.places)}")

    @property
    def met(self) -> bool:
        """What the gate waits for is there."""
        gate = self.rules.gate
        if gate is None:
            return False
        enough = gate.count is not None and len(self.standing("ready")) >= gate.count
        return enough or (gate.task is not None and gate.task in self.tasks)

    def _has_room(self) -> None:
        alive = sum(not job.done and "dead" not in job.places for job in self.jobs.values())
        if self.rules.capacity is not None and alive > self.rules.capacity:
            raise Violation(f"{alive} jobs where there is room for {self.rules.capacity}")

    def _moved(self, state: bytes) -> None:
        if state == b"open" and not (self._met or self.told):
            raise Violation("the gate opened by itself, and what it waits for was never there")
        self.open = state == b"open"
        self._met = False

    def _is_ours(self, event: Event) -> bool:
        return event.item.key.startswith(self.root)

    def _put(self, path: str, value: bytes, revision: int, ready: dict[str, tuple[int, int, int]]) -> None:
        kind, _, rest = path.partition("/")
        if kind == "jobs":
            self._new(rest, value)
        elif kind == "ready":
            priority, _, slot = rest.partition("/")
            self._ready(slot.partition("-")[2], int(priority, 16), revision)
        elif kind == "later":
            due, _, name = rest.partition("-")
            self._stands(name, "later")
            if not self.jobs[name].order:
                self.jobs[name].due = int(due, 16)
        elif kind == "dead":
            self._stands(rest, "dead")
            if self.jobs[rest].tries != self.limit:
                raise Violation(f"job {rest} is dead after {self.jobs[rest].tries} tries, not {self.limit}")
        elif kind == "seen":
            self._seen(rest, json.loads(value))
        elif kind == "gate":
            self._moved(value)
        elif kind == "tasks":
            self.tasks[rest] = value.decode()
        elif path.startswith("taken/job/"):
            self._taken(path.removeprefix("taken/job/"), json.loads(value), ready)
        elif path.startswith("taken/by/"):
            self.takers[path.removeprefix("taken/by/")] = value.decode()

    def _new(self, name: str, stored: bytes) -> None:
        head, _, value = stored.partition(b"\n")
        key = json.loads(head).get("key", "")
        if name in self.jobs or value in self.values:
            raise Violation(f"{value!r} was put twice, as {name} and {self.values.get(value)}")
        self.jobs[name] = JobModel(value, key)
        self.values[value] = name

    def _seen(self, key: str, facts: dict[str, Any]) -> None:
        latest = (MIDNIGHT + self._now() + self.rules.skew) * 1000
        if latest < self._until.get(key, 0):
            raise Violation(f"{facts['job']} was put under {key!r}, which is remembered until {self._until[key]}")
        if self.jobs[str(facts["job"])].key != key:
            raise Violation(f"{facts['job']} is remembered as put under {key!r}")
        self._until[key] = int(facts["until"])

    def _stands(self, name: str, place: str) -> None:
        if name not in self.jobs:
            raise Violation(f"job {name} in {place} was never put")
        self.jobs[name].places.add(place)

    def _ready(self, name: str, priority: int, revision: int) -> None:
        self._stands(name, "ready")
        job = self.jobs[name]
        if self.limit is not None and job.tries >= self.limit:
            raise Violation(f"job {name} comes back after {job.tries} tries of {self.limit}")
        job.order = job.order or revision
        job.priority = priority

    def _taken(self, name: str, facts: dict[str, Any], ready: dict[str, tuple[int, int, int]]) -> None:
        self._stands(name, "taken")
        job = self.jobs[name]
        job.tries += 1
        job.taker = str(facts["by"])
        self.deliveries.append(name)
        if facts["tries"] != job.tries:
            raise Violation(f"job {name} was taken {job.tries} times, stored is {facts['tries']}")
        if name not in ready:
            raise Violation(f"job {name} was taken and is not ready")
        if not self.open:
            raise Violation(f"job {name} was taken while the gate was closed")
        first = min(ready.values())
        if ready[name] != first:
            raise Violation(f"job {name} at {ready[name]} was taken before the one at {first}")

    def _delete(self, path: str) -> None:
        kind, _, rest = path.partition("/")
        if kind == "jobs":
            self.jobs[rest].done = True
        elif kind in ("ready", "later", "dead"):
            slot = rest.rpartition("/")[2]
            name = rest if kind == "dead" else slot.partition("-")[2]
            self.jobs[name].places.discard(kind)
            if kind == "dead":
                self.jobs[name].tries = 0  # it is discarded, or has all its tries again
        elif path.startswith("taken/job/"):
            job = self.jobs[path.removeprefix("taken/job/")]
            job.places.discard("taken")
        elif kind == "tasks":
            self.tasks.pop(rest, None)
        elif path.startswith("taken/by/"):
            self.takers.pop(path.removeprefix("taken/by/"), None)
