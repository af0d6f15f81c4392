"""The program behind discovery: who is registered, read at one revision and followed from there."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final
from weakref import WeakSet

from coord.keys import prefix_end
from coord.model import Event, EventKind, KeyValue
from coord.port import Port
from coord.recipes.common.following import RangeFollower
from coord.recipes.registry.brake import NOBODY_KEPT, Brake
from coord.recipes.registry.instance import LEAVING, Instance, parse_instance, service_prefix

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


class Seen:
    """Everybody by key, exactly as stored at `revision`; never changed."""

    def __init__(self, known: Mapping[bytes, Instance], revision: int) -> None:
        self.revision = revision
        self._known = known

    def __repr__(self) -> str:
        return f"<Seen at {self.revision}: {dict(self.known)}>"

    @property
    def known(self) -> Mapping[bytes, Instance]:
        """Everybody by key."""
        return self._known

    def kept(self, now: float) -> Mapping[bytes, Instance]:
        """Those who vanished with most of the others and are still to be used, by key."""
        return NOBODY_KEPT

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Everybody, oldest first."""
        return tuple(sorted(self.known.values(), key=_age))


NOBODY: Final = Seen({}, 0)


class Roster:
    """The instances of a service, as the events say; who says that it leaves has left. Knows no port.

    One program changes it, any thread may look. An event costs the same however many instances there are: nothing is
    copied unless somebody looks, and who looks is told what has changed since without a comparison of the whole.
    """

    def __init__(
        self,
        brake: Brake | None = None,
        now: Callable[[], float] = float,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Know nobody yet; the others have metadata that says all of `tags`.

        A brake is told who vanishes, and when by the clock `now`.
        """
        self._tags = tags.items()
        self._brake = brake
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[bytes, Instance] = {}
        self._revision = 0
        self._turn = 0  # counts states: a cluster that was restored goes back in its revisions
        self._newest: Look | None = None
        self._looks: WeakSet[Look] = WeakSet()  # those that somebody still has
        self._refused: set[bytes] = set()  # keys that hold no instance, reported once each

    @property
    def seen(self) -> Seen:
        """The newest state."""
        with self._lock:
            if self._newest is None:
                self._newest = Look(self, self._turn, self._revision)
                self._looks.add(self._newest)
            return self._newest

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[Change]:
        """The whole state at `revision`; returns what changed against what was known."""
        whole = {item.key: self._parse(item) for item in items}
        gone = dict.fromkeys(self._known.keys() - whole.keys())
        return self._become({**gone, **whole}, revision)

    def apply(self, events: Iterable[Event], revision: int) -> list[Change]:
        """One revision's events; returns what changed."""
        return self._become(
            {event.item.key: self._parse(event.item) if event.kind is EventKind.PUT else None for event in events},
            revision,
        )

    def _become(self, news: Mapping[bytes, Instance | None], revision: int) -> list[Change]:
        with self._lock:
            self._newest = None  # first of all: a look that nobody else has need not learn what comes now
            looks = list(self._looks)
            changed = []
            for key, says in news.items():
                before = self._known.get(key)
                after = says if says is not None and self._shows(says) else None
                if before == after:
                    continue
                if after is None:
                    del self._known[key]
                else:
                    self._known[key] = after
                for look in looks:
                    look.outdate(key, before, after)
                changed.append((before, after))
            self._revision = revision
            self._turn += 1
            if self._brake is not None:
                vanished = [before for before, after in changed if before and after is None and not news[before.key]]
                seen = [key for key, says in news.items() if says is not None]
                self._brake.on_change(vanished, seen, len(self._known), self._now())
        return _told(changed, revision)

    def _shows(self, instance: Instance) -> bool:
        return instance.state != LEAVING and self._tags <= instance.metadata.items()

    def kept(self, now: float) -> Mapping[bytes, Instance]:
        """Those who vanished with most of the others and are still to be used, by key."""
        if self._brake is None:
            return NOBODY_KEPT
        with self._lock:
            return self._brake.kept(now)

    def _parse(self, item: KeyValue) -> Instance | None:
        instance = parse_instance(item)
        if instance is None and item.key not in self._refused:
            self._refused.add(item.key)
            logger.warning("key %r lies among the registered instances but is none; coord ignores it", item.key)
        return instance


class Look(Seen):
    """A state of a roster; it keeps what was overwritten since, at most once for each key, and no copy of the rest."""

    def __init__(self, roster: Roster, turn: int, revision: int) -> None:
        super().__init__(NOBODY.known, revision)
        self._roster = roster
        self._turn = turn
        self._overwritten: dict[bytes, Instance | None] = {}
        self._copied = False

    def outdate(self, key: bytes, before: Instance | None, after: Instance | None) -> None:
        """The roster, whose lock is held, goes on to another state."""
        if self._overwritten.setdefault(key, before) is None and after is None:
            del self._overwritten[key]  # came and went: whoever comes and goes a million times leaves nothing here

    def kept(self, now: float) -> Mapping[bytes, Instance]:
        """Those who vanished, as of now."""
        return self._roster.kept(now)

    @property
    def known(self) -> Mapping[bytes, Instance]:
        """Everybody by key; copied when it is asked for."""
        with self._roster._lock:
            if not self._copied:
                copy: dict[bytes, Instance | None] = {**self._roster._known, **self._overwritten}
                self._known = {key: instance for key, instance in copy.items() if instance is not None}
                self._copied = True
            return self._known

    def until(self, after: Look) -> list[tuple[Instance | None, Instance | None]]:
        """What has changed up to a later state of the same roster: before and after."""
        known, mine, its = self._roster._known, self._overwritten, after._overwritten
        with self._roster._lock:
            # A key that only the later state has came after this one, and has gone since.
            return [(mine.get(key), its.get(key, known.get(key))) for key in mine.keys() | its.keys()]

    def precedes(self, other: Seen) -> bool:
        """True if `other` is a later state of the same roster."""
        return isinstance(other, Look) and other._roster is self._roster and self._turn <= other._turn


def differences(before: Seen, after: Seen) -> list[Change]:
    """What changed from one state to another: who left, then who joined or says something else, oldest first."""
    if isinstance(before, Look) and isinstance(after, Look) and before.precedes(after):
        return _told(before.until(after), after.revision)
    keys = {**before.known, **after.known}
    return _told([(before.known.get(key), after.known.get(key)) for key in keys], after.revision)


def _told(changed: Iterable[tuple[Instance | None, Instance | None]], revision: int) -> list[Change]:
    left: list[Change] = []
    fresh: list[Change] = []
    for before, after in changed:
        if after is None:
            if before is not None:
                left.append(Change(ChangeKind.LEFT, before, revision))
        elif before is None:
            fresh.append(Change(ChangeKind.JOINED, after, revision))
        # Registered again under a new lease after a loss, the key is new and the instance is the same: no change.
        elif before is not after and _said(before) != _said(after):
            fresh.append(Change(ChangeKind.UPDATED, after, revision))
    return sorted(left, key=_age_in) + sorted(fresh, key=_age_in)


def _age_in(change: Change) -> tuple[int, str, str]:
    return _age(change.instance)


def _age(instance: Instance) -> tuple[int, str, str]:
    return (instance.revision, instance.service, instance.id)


def _said(instance: Instance) -> tuple[object, ...]:
    return (instance.address, instance.metadata, instance.weight, instance.zone, instance.state)


class Follower(RangeFollower[Change]):
    """Reads a service's instances and follows their changes; a program's own object, used by one at a time."""

    def __init__(
        self,
        port: Port,
        service: str,
        brake: Brake | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        start = service_prefix(service)
        self.roster = Roster(brake, self._clock, tags)
        super().__init__(port, start, prefix_end(start), self.roster, "the registered instances")

    def _clock(self) -> float:
        return self._port.now()  # of the newest port

    @property
    def seen(self) -> Seen:
        """Everybody, as of the newest revision that was read or watched."""
        return self.roster.seen
