"""Effects that the disk does not hold yet, in the order they become durable.

Each bucket has three layers. `fresh` is what was written since the last seal: part of an entry, perhaps. `sealed` is
whole entries. `frozen` is what a running flush carries; it stays readable until that flush was reported and the reader
sees its commit. Knows nothing of LMDB.
"""

from __future__ import annotations

from collections.abc import Iterator

from coord.server.invariant import invariant

RECORD_OVERHEAD = 48
"""Bytes a record is counted with besides its key and value: what LMDB adds, about."""


class Layer:
    """Written values and deleted keys of one bucket; no key is in both."""

    __slots__ = ("gone", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.gone: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self.values or self.gone)

    def take(self, newer: Layer) -> None:
        """Add what `newer` says, and empty it."""
        if self.gone:
            self.gone.difference_update(newer.values)
        self.values.update(newer.values)
        if newer.gone:
            for key in newer.gone:
                self.values.pop(key, None)
            self.gone |= newer.gone
            newer.gone.clear()
        newer.values.clear()

    def check(self) -> None:
        """Raise `InvariantBroken` if the layer contradicts itself."""
        invariant(self.gone.isdisjoint(self.values), "a key is written or deleted, not both")


class BucketOverlay:
    """The layers of one bucket, newest first in every reading."""

    __slots__ = ("fresh", "frozen", "sealed")

    def __init__(self) -> None:
        self.fresh = Layer()
        self.sealed = Layer()
        self.frozen = Layer()

    def __bool__(self) -> bool:
        return bool(self.fresh or self.sealed or self.frozen)

    def put(self, key: bytes, value: bytes) -> None:
        fresh = self.fresh
        fresh.values[key] = value
        if fresh.gone:
            fresh.gone.discard(key)

    def delete(self, key: bytes) -> None:
        self.fresh.values.pop(key, None)
        self.fresh.gone.add(key)

    def find(self, key: bytes) -> tuple[bool, bytes | None]:
        """Whether the overlay decides about `key`, and its value then (None: deleted)."""
        for layer in (self.fresh, self.sealed, self.frozen):
            value = layer.values.get(key)
            if value is not None:
                return True, value
            if layer.gone and key in layer.gone:
                return True, None
        return False, None

    def between(self, start: bytes, end: bytes | None) -> list[tuple[bytes, bytes | None]]:
        """All the overlay says about start <= key < end, in key order; None stands for deleted."""
        merged: dict[bytes, bytes | None] = {}
        for layer in (self.frozen, self.sealed, self.fresh):
            merged.update(layer.values)
            merged.update(dict.fromkeys(layer.gone))
        if not start and end is None:
            return sorted(merged.items())
        return sorted(item for item in merged.items() if item[0] >= start and (end is None or item[0] < end))

    def seal(self) -> None:
        if not self.sealed:
            self.sealed, self.fresh = self.fresh, self.sealed
        else:
            self.sealed.take(self.fresh)

    def freeze(self) -> Layer:
        """Move what is sealed under the reading layers; returns it for the flush, which must not change it."""
        invariant(not self.frozen, "one flush at a time")
        self.frozen, self.sealed = self.sealed, Layer()
        return self.frozen

    def drop_frozen(self) -> None:
        self.frozen = Layer()

    def check(self) -> None:
        for layer in (self.fresh, self.sealed, self.frozen):
            layer.check()


def merge(
    stored: Iterator[list[tuple[bytes, bytes]]], written: list[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    """Chunks of stored pairs in key order, with what was written over them; deleted keys are left out."""
    position, count = 0, len(written)
    for chunk in stored:
        if position == count or written[position][0] > chunk[-1][0]:
            yield from chunk  # nothing written falls into this chunk
            continue
        for pair in chunk:
            while position < count and written[position][0] < pair[0]:
                key, value = written[position]
                position += 1
                if value is not None:
                    yield key, value
            if position < count and written[position][0] == pair[0]:
                continue  # the loop above yields the written one, or leaves it out
            yield pair
    for key, value in written[position:]:
        if value is not None:
            yield key, value
