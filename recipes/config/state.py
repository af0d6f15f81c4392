"""What is known of a configuration: the newest valid state, and why the newest stored one is not shown if it is not.

One program changes it, any thread may look: what was seen is replaced as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from coord.errors import ConfigInvalid
from coord.model import Event, EventKind, KeyValue
from coord.port import Port
from coord.recipes.common.following import RangeFollower
from coord.recipes.config.layers import Layers
from coord.recipes.config.stored import Place, changed_fields

logger = logging.getLogger("coord.config")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What became of a configuration.

    Attributes:
        old: what was shown before; None at first.
        new: what is shown now.
        fields: the stored fields that differ, by path; empty if nothing but `error` did.
        revision: revision of the store at which it was seen.
        error: why the newest stored state is not shown; None if it is.
    """

    old: T | None
    new: T
    fields: tuple[str, ...]
    revision: int
    error: ConfigInvalid | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Seen(Generic[T]):
    """Everything that is known; never changed, only replaced.

    Attributes:
        value: the newest valid state; meaningless while there is none.
        valid: there is one.
        texts: its stored texts by path.
        origins: where its fields come from.
        revision: revision of the store at which it was seen.
        items: the newest stored keys, valid or not.
        newest: revision of the store that they are from.
        error: why the newest state is not shown.
        stale: what is shown comes from the file of the last good state; no server has been asked yet.
    """

    value: T
    valid: bool
    texts: Mapping[str, str]
    origins: Mapping[str, str]
    revision: int
    items: Mapping[bytes, KeyValue]
    newest: int
    error: ConfigInvalid | None = None
    stale: bool = False


class Board(Generic[T]):
    """The mirror of a configuration's keys; a state that does not fit the model never replaces one that does."""

    def __init__(self, layers: Layers, place: Place) -> None:
        self._layers = layers
        self._place = place
        nothing: Any = None
        self.seen: Seen[T] = Seen(nothing, False, {}, {}, 0, {}, 0)

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[Change[T]]:
        """The whole state at `revision`; returns what changed against what was known."""
        return self._becomes({item.key: item for item in items}, revision)

    def apply(self, events: Iterable[Event], revision: int) -> list[Change[T]]:
        """One revision's events; returns what changed."""
        items = dict(self.seen.items)
        for event in events:
            items.pop(event.item.key, None)
            if event.kind is EventKind.PUT:
                items[event.item.key] = event.item
        return self._becomes(items, revision)

    def _becomes(self, items: Mapping[bytes, KeyValue], revision: int) -> list[Change[T]]:
        before = self.seen
        texts = self._place.texts(items.values())
        try:
            built = self._layers.build(texts)
        except ConfigInvalid as error:
            refusal = ConfigInvalid(str(error), revision=revision)
            refusal.__cause__ = error.__cause__
            self.seen = Seen(
                before.value,
                before.valid,
                before.texts,
                before.origins,
                before.revision,
                items,
                revision,
                refusal,
                before.stale,
            )
            if before.error is None or str(before.error) != str(error):
                logger.error("the configuration below %r is not valid and not shown: %s", self._place.prefix, error)
        else:
            self.seen = Seen(built.value, True, texts, built.origins, revision, items, revision)
        return differences(before, self.seen) if self.seen.valid else []

    def restore(self, texts: Mapping[str, str], revision: int) -> None:
        """Show the last good state, from its file.

        Raises:
            ConfigInvalid: it does not fit the model any more.
        """
        built = self._layers.build(texts)
        now = self.seen
        self.seen = Seen(
            built.value, True, texts, built.origins, revision, now.items, now.newest, now.error, stale=True
        )


def differences(before: Seen[T] | None, after: Seen[T]) -> list[Change[T]]:
    """What changed from one state to another, at most one change; everything, if there was none before."""
    if before is None or not before.valid:
        return [Change(None, after.value, tuple(sorted(after.texts)), after.newest, after.error)]
    fields = changed_fields(before.texts, after.texts)
    if not fields and _said(before) == _said(after):
        return []
    return [Change(before.value, after.value, fields, after.newest, after.error)]


def _said(seen: Seen[Any]) -> str | None:
    return None if seen.error is None else str(seen.error)


class Follower(RangeFollower[Change[T]]):
    """Reads a configuration and follows its changes; a program's own object, used by one at a time."""

    def __init__(self, port: Port, place: Place, layers: Layers) -> None:
        self.board: Board[T] = Board(layers, place)
        super().__init__(port, place.prefix, place.end, self.board, "a configuration")

    @property
    def seen(self) -> Seen[T]:
        """What is known as of the newest revision that was read or watched."""
        return self.board.seen
