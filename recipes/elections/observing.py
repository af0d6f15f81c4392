"""The program behind observing: every leader, in order, from the candidates' keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coord.keys import prefix_end
from coord.model import Event, EventKind, KeyValue
from coord.port import Port
from coord.recipes.common.following import RangeFollower
from coord.recipes.common.layout import contender_prefix
from coord.recipes.elections.candidate import Candidate, Leader, as_leader, candidates

NOTHING_TOLD: Final = object()


class Ballot:
    """Who stands for one name, as the events say, and who leads. Knows no port.

    The leader is always worked out from everybody who stands. To follow the leader's key alone, as Go's client does,
    means to read again after each one that goes: what came and went meanwhile is missed, and who wrote last is taken
    for the leader.
    """

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._standing: dict[bytes, Candidate] = {}
        self._told: object = NOTHING_TOLD
        self.revision = 0

    @property
    def leader(self) -> Leader | None:
        """Who leads at `revision`."""
        first = min(self._standing.values(), key=lambda each: each.term, default=None)
        return None if first is None else as_leader(first)

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[Leader | None]:
        """The whole queue at `revision`; returns the leader if it is not who was told of last."""
        self._standing = {each.key: each for each in candidates(self._name, items)}
        return self._changed(revision)

    def apply(self, events: Iterable[Event], revision: int) -> list[Leader | None]:
        """One revision's events; returns the leader if they changed it, or what it says."""
        for event in events:
            self._standing.pop(event.item.key, None)
            if event.kind is EventKind.PUT:
                self._standing.update((each.key, each) for each in candidates(self._name, (event.item,)))
        return self._changed(revision)

    def _changed(self, revision: int) -> list[Leader | None]:
        self.revision = revision
        leader = self.leader
        if leader == self._told:
            return []
        self._told = leader
        return [leader]


class Observer(RangeFollower[Leader | None]):
    """Follows who leads; a program's own object, used by one at a time."""

    def __init__(self, port: Port, name: bytes) -> None:
        start = contender_prefix(name)
        self.ballot = Ballot(name)
        super().__init__(port, start, prefix_end(start), self.ballot, "the candidates")
