"""Reading an LMDB environment in a few large calls.

A cursor never lives across a `yield`: between two chunks the transaction may be renewed under the reader.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

import lmdb

from coord.server.invariant import invariant
from coord.server.storage.contract import Bucket

CHUNK = 2048
"""Pairs read in one call: some 2 ms on the loop."""

APPLIED_INDEX = b"consistent_index"
APPLIED_TERM = b"term"
FORMAT_KEY = b"coordFormat"
"""Keys of the META bucket that belong to storage; the first two have etcd's names."""

Pair = tuple[bytes, bytes]
_KEY = itemgetter(0)


def read_chunks(
    transaction: Callable[[], lmdb.Transaction[bytes]], database: Any, start: bytes, end: bytes | None
) -> Iterator[list[Pair]]:
    """Non-empty runs of pairs with start <= key < end, in order; `transaction()` is asked again for each."""
    after: bytes | None = None
    while True:
        chunk = _read_chunk(transaction(), database, start, after)
        if not chunk:
            return
        after = chunk[-1][0]
        if end is not None and after >= end:
            del chunk[bisect_left(chunk, end, key=_KEY) :]
            if chunk:
                yield chunk
            return
        yield chunk


def _read_chunk(transaction: lmdb.Transaction[bytes], database: Any, start: bytes, after: bytes | None) -> list[Pair]:
    with transaction.cursor(database) as cursor:
        if after is None:
            found = cursor.set_range(start) if start else cursor.first()
        else:
            found = cursor.set_range(after)
            if found and cursor.key() == after:
                found = cursor.next()
        return list(islice(cursor.iternext(), CHUNK)) if found else []


def read_many(transaction: lmdb.Transaction[bytes], database: Any, keys: Sequence[bytes]) -> list[bytes]:
    """Values of `keys`, all of which must be stored.

    Raises:
        InvariantBroken: a key is missing.
    """
    with transaction.cursor(database) as cursor:
        found = cursor.getmulti(keys)
    invariant(len(found) == len(keys), "every key asked for is stored", asked=len(keys), found=len(found))
    return [value for _, value in found]


def read_applied(transaction: lmdb.Transaction[bytes], meta: Any) -> tuple[int, int]:
    """(index, term) that the environment holds the effects of."""
    index = transaction.get(APPLIED_INDEX, db=meta)
    term = transaction.get(APPLIED_TERM, db=meta)
    if index is None or term is None:
        return 0, 0
    return int.from_bytes(index, "big"), int.from_bytes(term, "big")


class SnapshotReader:
    """The durable state at one position, unchanged while it is open; for one thread at a time.

    Pages it sees cannot be used again before it is closed, so the file grows under a long-lived one.

    Attributes:
        applied: (index, term) of the position.
    """

    def __init__(
        self, transaction: lmdb.Transaction[bytes], databases: Mapping[Bucket, Any], closed: Callable[[], None]
    ) -> None:
        self._transaction = transaction
        self._databases = databases
        self._closed: Callable[[], None] | None = closed
        self.applied = read_applied(transaction, databases[Bucket.META])

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        """The value of `key`, None without one."""
        return self._transaction.get(key, db=self._databases[bucket])

    def get_many(self, bucket: Bucket, keys: Sequence[bytes]) -> list[bytes]:
        """Values of `keys`, in their order.

        Raises:
            InvariantBroken: a key is missing.
        """
        return read_many(self._transaction, self._databases[bucket], keys)

    def scan(self, bucket: Bucket, start: bytes = b"", end: bytes | None = None) -> Iterator[Pair]:
        """Pairs with start <= key < end in key order."""
        for chunk in self.chunks(bucket, start, end):
            yield from chunk

    def chunks(self, bucket: Bucket, start: bytes = b"", end: bytes | None = None) -> Iterator[list[Pair]]:
        """As `scan`, in lists as they were read."""
        return read_chunks(lambda: self._transaction, self._databases[bucket], start, end)

    def close(self) -> None:
        """Let its pages be used again."""
        if self._closed is not None:
            self._transaction.abort()
            self._closed()
            self._closed = None

    def __enter__(self) -> SnapshotReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
