"""The program behind discovery: who is registered, read at one revision and followed from there."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from coord.errors import CallTimeout, Compacted, CoordError, HistoryLost, Unavailable
from coord.keys import prefix_end
from coord.model import Event, EventKind, KeyValue
from coord.ops import Get
from coord.port import Port, Watching, WatchTarget
from coord.recipes.registry.instance import Instance, parse_instance, service_prefix

logger = logging.getLogger("coord.registry")

ATTEMPT_SECONDS = 5.0  # for one reading, so that a program that follows for ever can be stopped in between
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
        revision: revision of the store at which it was seen.
    """

    kind: ChangeKind
    instance: Instance
    revision: int


class Seen(NamedTuple):
    """Everybody by key, exactly as stored at `revision`; never changed."""

    known: Mapping[bytes, Instance]
    revision: int


NOBODY: Final = Seen({}, 0)


class Roster:
    """The instances of a service, as the events say. Knows no port.

    One program changes it, any thread may look: what was seen is replaced as a whole.
    """

    def __init__(self) -> None:
        self._seen = NOBODY
        self._sorted: tuple[Seen, tuple[Instance, ...]] = (self._seen, ())
        self._refused: set[bytes] = set()  # keys that hold no instance, reported once each

    @property
    def seen(self) -> Seen:
        """The newest state."""
        return self._seen

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Everybody, oldest first."""
        seen = self._seen
        if self._sorted[0] is not seen:
            self._sorted = (seen, tuple(sorted(seen.known.values(), key=_age)))
        return self._sorted[1]

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


class Follower:
    """Reads a service's instances and follows their changes; a program's own object, used by one at a time."""

    def __init__(self, port: Port, service: str) -> None:
        self._port = port
        self._start = service_prefix(service)
        self._end = prefix_end(self._start)
        self._watch: Watching | None = None
        self._began = False  # the first state was told
        self.roster = Roster()

    def move(self, port: Port) -> None:
        """Go on with another port of the same client; what is watched stays."""
        self._port = port

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

        What was compacted away, and a cluster that was restored from a backup, are made good by reading again: the
        difference is what is returned.

        Raises:
            CallTimeout: the deadline passed.
            RequestRefused: the service may not be read.
            ClosedError: the client was closed.
        """
        while True:
            try:
                changes = await self._step(deadline)
            except (Unavailable, CallTimeout) as trouble:
                # Without a deadline there is nobody to tell, and the state may come back at any time.
                await self._pause(deadline, trouble)
            except HistoryLost as lost:
                logger.warning("reading the registered instances anew: %s", lost)
                self.close()
                await self._pause(deadline, lost)
            else:
                if changes or not self._began:
                    self._began = True
                    return changes

    async def _step(self, deadline: float | None) -> list[Change]:
        if self._watch is None:
            attempt = self._port.now() + ATTEMPT_SECONDS
            return await self.read(attempt if deadline is None else min(attempt, deadline))
        try:
            batch = await self._watch.next(deadline=deadline)
        except Compacted:
            self.close()
            return []
        return self.roster.apply(batch.events, batch.revision)

    async def _pause(self, deadline: float | None, trouble: CoordError) -> None:
        until = self._port.now() + PAUSE_SECONDS
        if deadline is not None and until >= deadline:
            raise CallTimeout("no change was seen in time") from trouble
        await self._port.sleep(until=until)

    def close(self) -> None:
        """Stop following."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
