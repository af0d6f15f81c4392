"""Effects that the disk does not hold yet, in the order they become durable.

Each bucket has three layers. `fresh` is what was written since the last seal: part of an entry, perhaps. `sealed` is
whole entries. `frozen` is what a running flush carries; it stays readable until that flush was reported and the reader
sees its commit. Knows nothing of LMDB.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import merge as merge_sorted

from coord.server.invariant import invariant

RECORD_OVERHEAD = 48
"""Bytes a record is counted with besides its key and value: what LMDB adds, about."""

Pair = tuple[bytes, bytes]


class Layer:
    """Written values and deleted keys of one bucket; no key is in both."""

    __slots__ = ("_in_order", "gone", "order", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.gone: set[bytes] = set()
        self.order: list[bytes] = []  # every key written, as it came; sorted only when somebody scans
        self._in_order = 0  # length of the sorted beginning of `order`

    @property
    def filled(self) -> bool:
        return bool(self.values or self.gone)

    def take(self, newer: Layer) -> None:
        """Add what `newer` says; it is left as it is, for scans that began on it."""
        if self.gone:
            self.gone.difference_update(newer.values)
        self.values.update(newer.values)
        self.order += newer.order
        if newer.gone:
            for key in newer.gone:
                self.values.pop(key, None)
            self.gone |= newer.gone

    def keys_between(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """Keys ever written with start <= key < end, in order; some repeatedly, some deleted since."""
        order = self._sort()
        low = bisect_left(order, start) if start else 0
        high = len(order) if end is None else bisect_left(order, end)
        return map(order.__getitem__, range(low, high))

    def _sort(self) -> list[bytes]:
        order, done = self.order, self._in_order
        if done < len(order):
            added = order[done:]
            # Records of the store come in ascending order: what was sorted before stays, however much that is.
            if (done and added[0] < order[done - 1]) or added != sorted(added):
                order.sort()
            self._in_order = len(order)
        return order

    def check(self) -> None:
        """Raise `InvariantBroken` if the layer contradicts itself."""
        invariant(self.gone.isdisjoint(self.values), "a key is written or deleted, not both")
        invariant(self.values.keys() <= set(self.order), "a scan finds every written key")


class BucketOverlay:
    """The layers of one bucket, newest first in every reading."""

    __slots__ = ("fresh", "frozen", "sealed")

    def __init__(self) -> None:
        self.fresh = Layer()
        self.sealed = Layer()
        self.frozen = Layer()

    @property
    def empty(self) -> bool:
        """It decides about no key."""
        return not (self.fresh.filled or self.sealed.filled or self.frozen.filled)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`."""
        fresh = self.fresh
        fresh.values[key] = value
        fresh.order.append(key)
        if fresh.gone:
            fresh.gone.discard(key)

    def delete(self, key: bytes) -> None:
        """Remove `key`, whether or not it exists."""
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

    def find_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of `keys` in their order, None where the overlay does not decide.

        Raises:
            InvariantBroken: a key is deleted.
        """
        found: list[bytes | None] = [None] * len(keys)
        for layer in (self.fresh, self.sealed, self.frozen):
            if layer.gone:
                lost = [key for key, value in zip(keys, found, strict=True) if value is None and key in layer.gone]
                invariant(not lost, "no key asked for is deleted", keys=lost)
            if layer.values:
                get = layer.values.get
                found = [get(key) if value is None else value for key, value in zip(keys, found, strict=True)]
        return found

    def seal(self) -> None:
        """What is fresh belongs to whole entries now."""
        fresh = self.fresh
        if not (fresh.values or fresh.gone):
            return
        if self.sealed.order or self.sealed.gone:
            self.sealed.take(fresh)
        else:
            self.sealed = fresh
        self.fresh = Layer()

    def freeze(self) -> Layer:
        """Move what is sealed under the reading layers; returns it for the flush, which must not change it."""
        invariant(not self.frozen.filled, "one flush at a time")
        self.frozen, self.sealed = self.sealed, Layer()
        return self.frozen

    def drop_frozen(self) -> None:
        """The reader sees what the flush carried."""
        if self.frozen.filled:
            self.frozen = Layer()

    def over(self, stored: Iterator[list[Pair]], start: bytes, end: bytes | None) -> Iterator[Pair]:
        """Chunks of stored pairs in key order, with what this overlay says now over them.

        Costs what lies between `start` and `end`, not what the overlay holds. Keeps to the layers of its beginning:
        what a flush moves to the disk meanwhile may come from both sides, and is yielded once.
        """
        layers = [layer for layer in (self.fresh, self.sealed, self.frozen) if layer.filled]
        return _merge(stored, _written(layers, start, end), [layer.gone for layer in layers if layer.gone])

    def check(self) -> None:
        """Raise `InvariantBroken` if a layer contradicts itself."""
        for layer in (self.fresh, self.sealed, self.frozen):
            layer.check()


def _written(layers: list[Layer], start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
    """Each key written in `layers` (newest first) once, in order; None if a newer layer deleted it."""
    parts = [layer.keys_between(start, end) for layer in layers if layer.order]
    before = None
    for key in parts[0] if len(parts) == 1 else merge_sorted(*parts):
        if key == before:
            continue
        before = key
        for layer in layers:
            value = layer.values.get(key)
            if value is not None or key in layer.gone:
                yield key, value
                break


def _merge(
    stored: Iterator[list[Pair]], written: Iterator[tuple[bytes, bytes | None]], gone: list[set[bytes]]
) -> Iterator[Pair]:
    nothing: tuple[None, None] = (None, None)
    key, value = next(written, nothing)
    for chunk in stored:
        if not gone and (key is None or key > chunk[-1][0]):
            yield from chunk  # nothing written falls into this chunk
            continue
        for pair in chunk:
            while key is not None and key < pair[0]:
                if value is not None:
                    yield key, value
                key, value = next(written, nothing)
            if key == pair[0] or any(pair[0] in keys for keys in gone):
                continue  # the loop above yields the written one, or leaves it out
            yield pair
    while key is not None:
        if value is not None:
            yield key, value
        key, value = next(written, nothing)
