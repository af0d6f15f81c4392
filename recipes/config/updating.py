"""The programs that change a configuration, and read its history.

A change reads the fields and the newest entry of the history at one revision, and is written by one transaction that
happens only if nothing of either has changed since. It carries its own entry into the history, which nothing compacts
but `keep`. So no update is lost, half written, or missing in the history; and a request that is repeated, or arrives
late, finds its own entry there and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from coord.errors import CallTimeout, ConfigInvalid, CoordError, OutcomeUnknown, RevisionNotFound, Unavailable
from coord.model import KeyValue, RangeResult, TxnResult
from coord.ops import Attribute, Compare, Delete, Get, Op, Order, Put, Relation, Txn
from coord.port import Port
from coord.recipes.common.patience import Patience
from coord.recipes.config.stored import (
    Entry,
    Place,
    Stamp,
    changed_fields,
    encode_entry,
    parse_entry,
    wrote,
)

LIMIT: Final = 60
"""Fields that a transaction compares one by one, and operations of one level of it.

etcd takes 128 unless told otherwise, for a transaction together with those it is nested in. So operations can be
grouped, and conditions cannot.
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A configuration at one revision.

    Attributes:
        revision: the revision.
        items: its stored keys.
        texts: its stored texts by path.
        last: the newest key of its history, None if there is none.
    """

    revision: int
    items: Mapping[bytes, KeyValue]
    texts: Mapping[str, str]
    last: KeyValue | None


@dataclass(frozen=True, slots=True)
class Written:
    """A change that was made: from which texts to which, and at which revision."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    revision: int


Decide = Callable[[Snapshot], Mapping[str, str]]
"""The new texts for a snapshot; raises if there shall be no change after all."""


def _reads(place: Place) -> tuple[Op, ...]:
    return (
        Get(place.prefix, place.end),
        Get(place.entry(0), place.history_end, limit=1, order=Order.DESCEND),
    )


def _snapshot(place: Place, fields: RangeResult, history: RangeResult) -> Snapshot:
    items = {item.key: item for item in fields.items}
    return Snapshot(fields.header.revision, items, place.texts(fields.items), history.first)


async def read(port: Port, place: Place, deadline: float | None) -> Snapshot:
    """Program: the configuration as it is now.

    Raises:
        CallTimeout, RequestRefused, HistoryLost, ClosedError.
    """
    found = await Patience(port, deadline).txn(Txn(then=_reads(place)))
    return _snapshot(place, found.range(0), found.range(1))


class Update:
    """One change; a program's own object.

    Args:
        port: what it is made through.
        place: where the configuration is.
        stamp: who makes it.
        keep: how many entries its history keeps.
        deadline: when it gives up, None for never.
    """

    def __init__(self, port: Port, place: Place, stamp: Stamp, keep: int, deadline: float | None) -> None:
        self._place = place
        self._stamp = stamp
        self._keep = keep
        self._port = port
        self._patience = Patience(port, deadline)
        self._unknown: CoordError | None = None  # why a request of ours may have happened, or may yet
        self._tries: list[tuple[int, Written]] = []  # those requests, with the numbers of their entries

    async def run(self, decide: Decide) -> Written:
        """Change what `decide` says; it is asked again when somebody else wrote meanwhile.

        Raises:
            CallTimeout: not in time; nothing was changed.
            OutcomeUnknown: it may have been changed.
            RequestRefused, HistoryLost, ClosedError, and what `decide` raises.
        """
        seen = await read(self._port, self._place, self._patience.deadline)
        while True:
            try:
                texts = decide(seen)
            except CoordError as error:
                raise self._told(error) from error.__cause__
            if texts == seen.texts and self._unknown is None:
                return Written(seen.texts, texts, seen.revision)
            answer = await self._sent(seen, texts)
            if isinstance(answer, Written):
                return answer
            mine = self._mine(answer.range(2).items)
            if mine is not None:
                return mine
            fresh = _snapshot(self._place, answer.range(0), answer.range(1))
            if fresh.last is not None and fresh.last.mod_revision > seen.revision:
                # The history went on without ours, so none of our requests can happen any more.
                self._unknown = None
                self._tries.clear()
            seen = fresh

    def _mine(self, later: Sequence[KeyValue]) -> Written | None:
        """What one of our own requests did, whose answer was lost; `later` is the history since the first of them.

        Raises:
            OutcomeUnknown: it cannot be told any more.
        """
        for item in later:
            if wrote(item, self._stamp):
                entry = parse_entry(item)
                assert entry is not None  # we wrote it
                written = [each for _, each in self._tries if each.after == entry.texts]
                return replace(written[0], revision=item.mod_revision)
        if self._unknown is not None and later and self._place.number(later[0].key) > self._tries[0][0]:
            raise OutcomeUnknown("the history is too short to tell whether the change was made") from self._unknown
        return None

    def _next(self, seen: Snapshot) -> int:
        """The number of this change's own entry."""
        last = 0 if seen.last is None else self._place.number(seen.last.key)
        if seen.last is not None and not last:
            raise ConfigInvalid(f"{seen.last.key!r} lies in the history and is no entry of it: delete it", revision=0)
        return last + (2 if self._found(seen) else 1)

    @staticmethod
    def _found(seen: Snapshot) -> bool:
        """What is there was written by others, so that the history does not have it yet."""
        entry = None if seen.last is None else parse_entry(seen.last)
        return bool(seen.texts) if entry is None else entry.texts != seen.texts

    def _request(self, seen: Snapshot, texts: Mapping[str, str], number: int) -> Txn:
        place = self._place
        changed = changed_fields(seen.texts, texts)
        ops: list[Op] = [
            Put(place.key(path), texts[path].encode("utf-8", "surrogateescape"))
            if path in texts
            else Delete(place.key(path))
            for path in changed
        ]
        if self._found(seen):
            entry = None if seen.last is None else parse_entry(seen.last)
            others = changed_fields({} if entry is None else entry.texts, seen.texts)
            ops.append(Put(place.entry(number - 1), encode_entry(self._stamp, others, seen.texts, seen.revision)))
        ops.append(Put(place.entry(number), encode_entry(self._stamp, changed, texts)))
        if number > self._keep:
            ops.append(Delete(place.entry(0), place.entry(number - self._keep + 1)))
        first = min([number, *(tried for tried, _ in self._tries)])
        otherwise = (*_reads(place), Get(place.entry(first), place.history_end))
        return Txn(self._unchanged(seen, changed), nested(tuple(ops)), otherwise)

    def _unchanged(self, seen: Snapshot, changed: Sequence[str]) -> tuple[Compare, ...]:
        """Nothing is newer than the snapshot, and nothing of it was deleted.

        A deletion leaves no trace that a range could be compared with, so fields are compared one by one, those that
        change first. Were one beyond the limit deleted meanwhile, by others than coord and unchanged by us, it is as if
        that had come right afterwards.
        """
        place = self._place
        newer = seen.revision + 1
        changing = {place.key(path) for path in changed}
        watched = sorted(seen.items.values(), key=lambda item: item.key not in changing)[:LIMIT]
        return (
            Compare(place.prefix, Attribute.MOD, Relation.LESS, newer, place.end),
            Compare(place.entry(0), Attribute.MOD, Relation.LESS, newer, place.history_end),
            *(Compare(item.key, Attribute.MOD, Relation.EQUAL, item.mod_revision) for item in watched),
        )

    async def _sent(self, seen: Snapshot, texts: Mapping[str, str]) -> Written | TxnResult:
        """What was written, or the answer that refused it."""
        number = self._next(seen)
        request = self._request(seen, texts, number)
        written = Written(seen.texts, texts, 0)
        while True:
            try:
                answer = await self._port.txn(request, deadline=self._patience.attempt())
            except (OutcomeUnknown, Unavailable, CallTimeout) as error:
                trouble: CoordError = error
            except CoordError as error:
                raise self._told(error) from error
            else:
                return replace(written, revision=answer.header.revision) if answer.succeeded else answer
            if isinstance(trouble, OutcomeUnknown):
                self._unknown = trouble
                self._tries.append((number, written))
            try:
                await self._patience.pause(trouble)
            except CoordError as error:
                raise self._told(error) from trouble

    def _told(self, error: CoordError) -> CoordError:
        """The error, unless a request of ours may have happened."""
        if self._unknown is None or isinstance(error, OutcomeUnknown):
            return error
        return OutcomeUnknown(f"whether the configuration was changed is not known: {error}")


def nested(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The same operations, grouped if they are too many for one level of a transaction."""
    if len(ops) <= LIMIT:
        return ops
    return tuple(Txn((), ops[start : start + LIMIT]) for start in range(0, len(ops), LIMIT))


async def entries(port: Port, place: Place, deadline: float | None) -> tuple[Entry, ...]:
    """Program: the history, oldest first.

    Raises:
        CallTimeout, RequestRefused, HistoryLost, ClosedError.
    """
    found = await Patience(port, deadline).read(Get(place.entry(0), place.history_end))
    kept = [parse_entry(item) for item in found.items if place.number(item.key)]
    return tuple(entry for entry in kept if entry is not None)


def entry_of(history: tuple[Entry, ...], revision: int) -> Entry:
    """The entry that was made at a revision.

    Raises:
        RevisionNotFound: there is none.
    """
    for entry in history:
        if entry.revision == revision:
            return entry
    known = tuple(entry.revision for entry in history)
    raise RevisionNotFound(f"the history has no revision {revision}; it has {known}", revision=revision, known=known)
