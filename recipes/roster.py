"""The program behind discovery: who is registered, read at one revision and followed from there."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from coord.errors import CallTimeout, Compacted, Unavailable
from coord.keys import prefix_end
from coord.model import Event, EventKind, KeyValue
from coord.ops import Get
from coord.port import Port, Watching, WatchTarget
from coord.recipes.instance import Instance, parse_instance, service_prefix

logger = logging.getLogger("coord.registry")

PAUSE_SECONDS = 0.5  # between attempts while the server cannot be reached


class ChangeKind(enum.Enum):
    """What happened to an instance."""

    JOINED = "joined"
    UPDATED = "updated"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a service.

    Attributes:
        kind: JOINED, UPDATED or LEFT.
        instance: the instance after the change; as it was last seen if it left.
        revision: revision of the store that made the change.
    """

    kind: ChangeKind
    instance: Instance
    revision: int


class Roster:
    """The instances of a service, as the events say. Knows no port."""

    def __init__(self) -> None:
        self._known: dict[bytes, Instance] = {}
        self._refused: set[bytes] = set()  # keys that hold no instance, reported once each

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Everybody, oldest first."""
        return tuple(sorted(self._known.values(), key=lambda each: (each.revision, each.id)))

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[Change]:
        """The whole state at `revision`; returns what changed against what was known."""
        found = {item.key: instance for item in items if (instance := self._parse(item)) is not None}
        changes = [
            Change(ChangeKind.LEFT, instance, revision) for key, instance in self._known.items() if key not in found
        ]
        for key, instance in found.items():
            changes += self._put(key, instance, revision)
        self._known = found
        return changes

    def apply(self, events: Iterable[Event], revision: int) -> list[Change]:
        """One revision's events; returns what changed."""
        changes: list[Change] = []
        for event in events:
            key = event.item.key
            if event.kind is EventKind.PUT:
                instance = self._parse(event.item)
                if instance is not None:
                    changes += self._put(key, instance, revision)
                    self._known[key] = instance
                    continue
            gone = self._known.pop(key, None)
            if gone is not None:
                changes.append(Change(ChangeKind.LEFT, gone, revision))
        return changes

    def _put(self, key: bytes, instance: Instance, revision: int) -> list[Change]:
        before = self._known.get(key)
        if before is None:
            return [Change(ChangeKind.JOINED, instance, revision)]
        # Registered again under a new lease after a loss: the key is new, the instance is the same.
        if _said(before) == _said(instance):
            return []
        return [Change(ChangeKind.UPDATED, instance, revision)]

    def _parse(self, item: KeyValue) -> Instance | None:
        instance = parse_instance(item)
        if instance is None and item.key not in self._refused:
            self._refused.add(item.key)
            logger.warning("key %r lies among the registered instances but is none; coord ignores it", item.key)
        return instance


def _said(instance: Instance) -> tuple[object, ...]:
    return (instance.address, instance.metadata, instance.weight, instance.zone)


class Follower:
    """Reads a service's instances and follows their changes; a program's own object, used by one at a time."""

    def __init__(self, port: Port, service: str) -> None:
        self._port = port
        self._start = service_prefix(service)
        self._end = prefix_end(self._start)
        self._watch: Watching | None = None
        self.roster = Roster()

    async def read(self, deadline: float | None) -> list[Change]:
        """Read everybody; the next changes are those after this revision.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        self.close()
        found = await self._port.range(Get(self._start, self._end), deadline=deadline)
        revision = found.header.revision
        self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=revision + 1)
        return self.roster.replace(found.items, revision)

    async def next(self, deadline: float | None) -> list[Change]:
        """Wait for the next changes; the first call returns everybody who is there as JOINED, which may be nobody.

        What was compacted away is made good by reading again: the difference is what is returned.

        Raises:
            CallTimeout: the deadline passed.
            RequestRefused, HistoryLost, ClosedError.
        """
        while True:
            first = self._watch is None
            try:
                changes = await self._step(deadline)
            except Unavailable:
                # Without a deadline there is nobody to tell, and the state may come back at any time.
                await self._pause(deadline)
                continue
            if changes or first:
                return changes

    async def _step(self, deadline: float | None) -> list[Change]:
        if self._watch is None:
            return await self.read(deadline)
        try:
            batch = await self._watch.next(deadline=deadline)
        except Compacted:
            return await self.read(deadline)
        return self.roster.apply(batch.events, batch.revision)

    async def _pause(self, deadline: float | None) -> None:
        until = self._port.now() + PAUSE_SECONDS
        if deadline is not None and until >= deadline:
            raise CallTimeout("no change was seen in time")
        await self._port.sleep(until=until)

    def close(self) -> None:
        """Stop following."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
