"""The program behind discovery: who is registered, read at one revision and followed from there."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from coord.keys import prefix_end
from coord.model import Event, EventKind, KeyValue
from coord.port import Port
from coord.recipes.common.following import RangeFollower
from coord.recipes.registry.instance import Instance, parse_instance, service_prefix

logger = logging.getLogger("coord.registry")


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
        revision: revision of the store at which it was seen.
    """

    kind: ChangeKind
    instance: Instance
    revision: int


@dataclass(frozen=True, eq=False)
class Seen:
    """Everybody by key, exactly as stored at `revision`; never changed."""

    known: Mapping[bytes, Instance]
    revision: int

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Everybody, oldest first."""
        return tuple(sorted(self.known.values(), key=_age))


NOBODY: Final = Seen({}, 0)


class Roster:
    """The instances of a service, as the events say. Knows no port.

    One program changes it, any thread may look: what was seen is replaced as a whole.
    """

    def __init__(self) -> None:
        self._seen = NOBODY
        self._refused: set[bytes] = set()  # keys that hold no instance, reported once each

    @property
    def seen(self) -> Seen:
        """The newest state."""
        return self._seen

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[Change]:
        """The whole state at `revision`; returns what changed against what was known."""
        return self._becomes(
            {item.key: instance for item in items if (instance := self._parse(item)) is not None}, revision
        )

    def apply(self, events: Iterable[Event], revision: int) -> list[Change]:
        """One revision's events; returns what changed."""
        known = dict(self._seen.known)
        for event in events:
            instance = self._parse(event.item) if event.kind is EventKind.PUT else None
            if instance is None:
                known.pop(event.item.key, None)
            else:
                known[event.item.key] = instance
        return self._becomes(known, revision)

    def _becomes(self, known: Mapping[bytes, Instance], revision: int) -> list[Change]:
        before, self._seen = self._seen, Seen(known, revision)
        return differences(before, self._seen)

    def _parse(self, item: KeyValue) -> Instance | None:
        instance = parse_instance(item)
        if instance is None and item.key not in self._refused:
            self._refused.add(item.key)
            logger.warning("key %r lies among the registered instances but is none; coord ignores it", item.key)
        return instance


def differences(before: Seen, after: Seen) -> list[Change]:
    """What changed from one state to another: who left, then who joined or says something else, oldest first."""
    left = [instance for key, instance in before.known.items() if key not in after.known]
    changes = [Change(ChangeKind.LEFT, instance, after.revision) for instance in sorted(left, key=_age)]
    # Registered again under a new lease after a loss, the key is new and the instance is the same: no change.
    fresh = [
        Change(ChangeKind.JOINED if known is None else ChangeKind.UPDATED, instance, after.revision)
        for key, instance in after.known.items()
        if (known := before.known.get(key)) is not instance and (known is None or _said(known) != _said(instance))
    ]
    return changes + sorted(fresh, key=lambda change: _age(change.instance))


def _age(instance: Instance) -> tuple[int, str, str]:
    return (instance.revision, instance.service, instance.id)


def _said(instance: Instance) -> tuple[object, ...]:
    return (instance.address, instance.metadata, instance.weight, instance.zone)


class Follower(RangeFollower[Change]):
    """Reads a service's instances and follows their changes; a program's own object, used by one at a time."""

    def __init__(self, port: Port, service: str) -> None:
        start = service_prefix(service)
        self.roster = Roster()
        super().__init__(port, start, prefix_end(start), self.roster, "the registered instances")

    @property
    def seen(self) -> Seen:
        """Everybody, as of the newest revision that was read or watched."""
        return self.roster.seen
