"""What the state machine may ask of its durable map, and nothing else.

Reads see the effects of all writes at once. Writes stay in memory (the overlay) until a flush has made them durable; a
flush carries everything up to a sealed position of the log and never a part of an entry. All methods are called on the
server's loop and none waits for the disk, except `scan` at boot.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Protocol


class Bucket(enum.Enum):
    """The named maps of the backend; the value is the name on disk."""

    KEY = "key"  # 17-byte revision -> encoded mvccpb.KeyValue; 18 bytes with a trailing "t" for a tombstone
    LEASE = "lease"  # 8-byte big-endian lease id -> lease record
    META = "meta"  # applied index and term, compaction marks, format version
    ALARM = "alarm"  # member id and alarm type -> empty
    MEMBERS = "members"
    AUTH = "auth"
    AUTH_USERS = "authUsers"
    AUTH_ROLES = "authRoles"

    # Every read looks its bucket up in a dict; Enum's own hash is a Python call that costs as much as the read.
    __hash__ = object.__hash__


class Backend(Protocol):
    """A durable map of byte strings in named buckets."""

    def get(self, bucket: Bucket, key: bytes) -> bytes | None: ...

    def get_many(self, bucket: Bucket, keys: Sequence[bytes]) -> list[bytes]:
        """Values of `keys`, in their order; every key must exist.

        Raises:
            InvariantBroken: a key is missing.
        """
        ...

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None: ...

    def delete(self, bucket: Bucket, key: bytes) -> None: ...

    def scan(self, bucket: Bucket, start: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < end in key order, overlay included; the bucket must not change meanwhile."""
        ...

    def seal(self, index: int, term: int) -> None:
        """All effects up to log position (index, term) have been written; a flush may carry them."""
        ...

    @property
    def applied(self) -> tuple[int, int]:
        """(index, term) sealed last; after a boot, what the durable state holds."""
        ...

    @property
    def size(self) -> int:
        """Bytes allocated on disk, with what waits to be flushed added as an estimate."""
        ...

    @property
    def size_in_use(self) -> int: ...
