"""Bugs that configurations are shipped with, put in one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coord.errors import ConfigInvalid
from coord.model import KeyValue
from coord.ops import Delete, Get, Put, Txn
from coord.port import WatchTarget
from coord.recipes.config.state import Board, Follower, Seen
from coord.recipes.config.updating import Snapshot, Update
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.config import PLACE, ConfigScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

LOSSES = Faults(break_off=8, delay=4, cancel=0, crash=0, close=0, pause=0, cut=1, restart=0, compact=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults | None = None) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> ConfigScenario:
        return ConfigScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 7, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


# --- followers


@mutant(
    "torn read",
    "every field is read by a request of its own, as with get() in a loop: half of a change is shown",
    "a view at revision|a view shows",
)
def _(stack: contextlib.ExitStack) -> None:
    async def read(self: Any, deadline: float | None) -> Any:
        self.close()
        found = []
        for field in ("count", "twin", "level"):
            answer = await self._port.range(Get(PLACE.key(field)), deadline=deadline)
            found += answer.items
        self._since = answer.header.revision + 1
        return self.mirror.replace(found, answer.header.revision)

    swap(stack, Follower, "read", read)


@mutant(
    "watch from now",
    "python-etcd3 #1107: the watch begins when it is made, not after the revision that was read",
    "a view waits at|a view at revision|a view shows",
)
def _(stack: contextlib.ExitStack) -> None:
    async def read(self: Any, deadline: float | None) -> Any:
        self.close()
        found = await self._port.range(Get(self._start, self._end), deadline=deadline)
        self._since = found.header.revision + 1
        self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=0)
        return self.mirror.replace(found.items, found.header.revision)

    swap(stack, Follower, "read", read)


@mutant(
    "swapped before it was validated",
    "a reload that assigns first and complains afterwards: everybody reads the invalid state",
    "a view shows",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Board._becomes

    def becomes(self: Any, items: Mapping[bytes, KeyValue], revision: int) -> Any:
        changes = plain(self, items, revision)
        seen = self.seen
        if seen.error is not None:
            texts = PLACE.texts(items.values())
            self.seen = Seen(seen.value, True, texts, {}, revision, items, revision, seen.error)
        return changes

    swap(stack, Board, "_becomes", becomes)


@mutant(
    "invalid for ever",
    "a follower that gives up at the first invalid state, and shows the old one for good",
    "a view waits at|a view at revision|a view says|does not settle",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Board._becomes

    def becomes(self: Any, items: Mapping[bytes, KeyValue], revision: int) -> Any:
        return [] if self.seen.error is not None else plain(self, items, revision)

    swap(stack, Board, "_becomes", becomes)


# --- changes


@mutant(
    "no compare",
    "read, change, put: the second of two writers undoes the first",
    "is lost|the history says|is not in the history",
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Update, "_unchanged", lambda self, seen, changed: ())


@mutant(
    "deaf to deletions",
    "a range whose revisions did not grow is taken for unchanged: it may have lost a key",
    "the history says|is not in the history",
    Shape(writers=1, changes=3, strangers=("1", "", "1", ""), hold=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Update._unchanged
    swap(stack, Update, "_unchanged", lambda self, seen, changed: plain(self, seen, changed)[:2])


@mutant(
    "history afterwards",
    "the history is written by a request of its own: a crash or a second writer comes between",
    "is not in the history",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Update._request

    def request(self: Any, seen: Snapshot, texts: Mapping[str, str], number: int) -> Any:
        whole = plain(self, seen, texts, number)
        fields = tuple(
            op for op in whole.then if isinstance(op, (Put, Delete)) and not op.key.startswith(PLACE.history)
        )
        return Txn(whole.compares, fields, whole.otherwise)

    swap(stack, Update, "_request", request)


@mutant(
    "made twice",
    "a change whose answer was lost is made again on top of itself",
    "was made at",
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Update, "_mine", lambda self, later: None)


@mutant(
    "refused and made",
    "an unknown outcome is told as a time-out, which says that nothing happened",
    "its answer is 'refused'",
    Shape(writers=1, changes=3, strangers=(), hold=0.0, patience=6.0),
    faults=Faults(break_off=4, delay=8, cut=8, cancel=0, crash=0, close=0, pause=0, restart=0, compact=0),
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Update, "_told", lambda self, error: error)


@mutant(
    "too short a history",
    "the own entry is not there any more, and that is taken for a change that was never made",
    "was made at",
    Shape(writers=3, changes=3, keep=1, hold=0.0),
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Update._mine

    def mine(self: Any, later: Sequence[KeyValue]) -> Any:
        unknown, self._unknown = self._unknown, None
        found = plain(self, later)
        self._unknown = unknown
        return found

    swap(stack, Update, "_mine", mine)


@mutant(
    "strangers forgotten",
    "what was written without coord is in no history: nothing can bring it back",
    "is not in the history",
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Update, "_found", staticmethod(lambda seen: False))


@mutant(
    "history without end",
    "nothing takes old entries out",
    "left behind",
    Shape(changes=3, keep=2),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Update.__init__

    def begin(self: Any, *args: Any) -> None:
        plain(self, *args)
        self._keep = 1000

    swap(stack, Update, "__init__", begin)


@mutant(
    "rollback that only puts",
    "fields that were not there then stay as they are",
    "a rollback to",
    Shape(writers=1, changes=2, rollbacks=True, strangers=("1", "2"), hold=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Update.run

    async def run(self: Any, decide: Any) -> Any:
        return await plain(self, lambda seen: {**seen.texts, **decide(seen)})

    swap(stack, Update, "run", run)


@mutant(
    "invalid states end it",
    "an exception of the model ends the thread that follows",
    "a program ended with",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Board._becomes

    def becomes(self: Any, items: Mapping[bytes, KeyValue], revision: int) -> Any:
        changes = plain(self, items, revision)
        if self.seen.error is not None:
            raise ConfigInvalid("not caught")
        return changes

    swap(stack, Board, "_becomes", becomes)
