"""The backend without a disk: for tests, the simulator and `memory://`. What it holds is gone with the process."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from coord.server.invariant import invariant
from coord.server.storage.contract import Bucket

_RECORD_OVERHEAD = 32  # what a B+tree spends on a pair besides its bytes


class MemoryBackend:
    """A map of byte strings in named buckets; implements `Backend`.

    `copy()` is what a process that was killed right now would find on a disk that had everything.
    """

    def __init__(self) -> None:
        self._maps: dict[Bucket, dict[bytes, bytes]] = {bucket: {} for bucket in Bucket}
        # Keys of a bucket in order. None: must be sorted again. Scans are rare beside writes, so the cost is theirs.
        self._sorted: dict[Bucket, list[bytes] | None] = dict.fromkeys(Bucket, None)
        self._applied = (0, 0)
        self._size = 0

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        """The value of `key`."""
        return self._maps[bucket].get(key)

    def get_many(self, bucket: Bucket, keys: Sequence[bytes]) -> list[bytes]:
        """Values of `keys`, in their order.

        Raises:
            InvariantBroken: a key is missing.
        """
        find = self._maps[bucket].get
        values = []
        for key in keys:
            value = find(key)
            if value is None:
                invariant(False, "a record the index names is missing", bucket=bucket.value, key=key.hex())
                continue
            values.append(value)
        return values

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        """Set `key`."""
        records = self._maps[bucket]
        old = records.get(key)
        if old is None:
            self._size += len(key) + _RECORD_OVERHEAD
            ordered = self._sorted[bucket]
            if ordered is not None:
                # Records of the store come in ascending order: a watcher that catches up beside writers keeps its list.
                if not ordered or ordered[-1] < key:
                    ordered.append(key)
                else:
                    self._sorted[bucket] = None
        else:
            self._size -= len(old)
        self._size += len(value)
        records[key] = value

    def delete(self, bucket: Bucket, key: bytes) -> None:
        """Remove `key` if it is there."""
        old = self._maps[bucket].pop(key, None)
        if old is not None:
            self._size -= len(key) + len(old) + _RECORD_OVERHEAD
            self._sorted[bucket] = None

    def scan(self, bucket: Bucket, start: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < end in key order."""
        records = self._maps[bucket]
        ordered = self._sorted[bucket]
        if ordered is None:
            ordered = self._sorted[bucket] = sorted(records)
        stop = len(ordered) if end is None else bisect_left(ordered, end)
        for at in range(bisect_left(ordered, start), stop):
            key = ordered[at]
            yield key, records[key]

    def seal(self, index: int, term: int) -> None:
        """All effects up to log position (index, term) have been written."""
        invariant(index >= self._applied[0], "the sealed position went back", index=index, applied=self._applied)
        self._applied = (index, term)

    @property
    def applied(self) -> tuple[int, int]:
        """(index, term) sealed last."""
        return self._applied

    @property
    def size(self) -> int:
        """Bytes held, counted as a disk would."""
        return self._size

    @property
    def size_in_use(self) -> int:
        """The same as `size`: nothing is allocated ahead."""
        return self._size

    def copy(self) -> MemoryBackend:
        """An independent backend with the same content."""
        twin = MemoryBackend()
        twin._maps = {bucket: dict(records) for bucket, records in self._maps.items()}
        twin._applied = self._applied
        twin._size = self._size
        return twin
