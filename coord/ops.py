"""What can be asked of the key-value store, as checked, immutable values.

The records hold bytes and plain numbers and know nothing of protobuf; `coord.wire.convert` turns them into messages.
They are named tuples: a frozen dataclass takes seven times as long to make, and a lock cycle makes a dozen.
The lower-case functions are what users call: they take text or bytes and check their arguments.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from coord.errors import UsageError
from coord.keys import EVERYTHING, prefix_end, to_bytes


class Order(enum.IntEnum):
    """Sort order of a range."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class Target(enum.IntEnum):
    """What a range is sorted by."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class Attribute(enum.IntEnum):
    """What a comparison looks at."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Relation(enum.IntEnum):
    """How a comparison compares: stored attribute on the left."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class Get(NamedTuple):
    """Read [key, range_end), or `key` alone if `range_end` is empty."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    order: Order = Order.NONE
    target: Target = Target.KEY
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class Put(NamedTuple):
    """Write one key."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    previous: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Delete(NamedTuple):
    """Delete [key, range_end), or `key` alone if `range_end` is empty."""

    key: bytes
    range_end: bytes = b""
    previous: bool = False


class Compare(NamedTuple):
    """One condition of a transaction on a key, or on every key of [key, range_end)."""

    key: bytes
    attribute: Attribute
    relation: Relation
    operand: int | bytes
    range_end: bytes = b""


class Txn(NamedTuple):
    """If all `compares` hold, run `then`, else `otherwise`; atomically, in one revision."""

    compares: tuple[Compare, ...] = ()
    then: tuple[Op, ...] = ()
    otherwise: tuple[Op, ...] = ()

    @property
    def writes(self) -> bool:
        """True if either branch could change the store."""
        return any(
            isinstance(op, (Put, Delete)) or (isinstance(op, Txn) and op.writes) for op in self.then + self.otherwise
        )


Op = Get | Put | Delete | Txn


def span(
    key: str | bytes, *, prefix: bool = False, from_key: bool = False, range_end: str | bytes | None = None
) -> tuple[bytes, bytes]:
    """Key and range end for the three ways to name a range.

    Raises:
        UsageError: more than one way is given, or the key is empty without `prefix` or `from_key`.
    """
    start = to_bytes(key)
    if prefix + from_key + (range_end is not None) > 1:
        raise UsageError("give only one of prefix, from_key and range_end")
    if prefix:
        return (start, prefix_end(start)) if start else (EVERYTHING, EVERYTHING)
    if from_key:
        return start or EVERYTHING, EVERYTHING
    return _single(start), b"" if range_end is None else to_bytes(range_end)


def _single(key: str | bytes) -> bytes:
    """One key.

    Raises:
        UsageError: it is empty.
    """
    start = to_bytes(key)
    if not start:
        raise UsageError("the key is empty")
    return start


def get(
    key: str | bytes,
    *,
    prefix: bool = False,
    from_key: bool = False,
    range_end: str | bytes | None = None,
    limit: int = 0,
    revision: int = 0,
    order: Order = Order.NONE,
    target: Target = Target.KEY,
    serializable: bool = False,
    keys_only: bool = False,
    count_only: bool = False,
) -> Get:
    """A read, for a transaction or for `Client.range`.

    Raises:
        UsageError: the range is named in more than one way, or a number is negative.
    """
    if limit < 0 or revision < 0:
        raise UsageError("limit and revision cannot be negative")
    start, end = span(key, prefix=prefix, from_key=from_key, range_end=range_end)
    return Get(start, end, limit, revision, order, target, serializable, keys_only, count_only)


def put(
    key: str | bytes, value: str | bytes = b"", *, lease: int = 0, previous: bool = False, keep_lease: bool = False
) -> Put:
    """A write; `keep_lease` leaves the key attached to the lease it has.

    Raises:
        UsageError: the key is empty, or both `lease` and `keep_lease` are given.
    """
    if keep_lease and lease:
        raise UsageError("give either lease or keep_lease")
    return Put(_single(key), to_bytes(value), lease, previous, ignore_lease=keep_lease)


def delete(
    key: str | bytes,
    *,
    prefix: bool = False,
    from_key: bool = False,
    range_end: str | bytes | None = None,
    previous: bool = False,
) -> Delete:
    """A deletion.

    Raises:
        UsageError: the range is named in more than one way.
    """
    start, end = span(key, prefix=prefix, from_key=from_key, range_end=range_end)
    return Delete(start, end, previous)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One attribute of a key, to be compared: ``value("k") == "x"``."""

    key: bytes
    attribute: Attribute
    range_end: bytes = b""

    def _make(self, relation: Relation, operand: object) -> Compare:
        if self.attribute is Attribute.VALUE:
            if not isinstance(operand, (str, bytes)):
                raise UsageError("a value is compared with str or bytes")
            return Compare(self.key, self.attribute, relation, to_bytes(operand), self.range_end)
        if not isinstance(operand, int) or isinstance(operand, bool):
            raise UsageError(f"{self.attribute.name.lower()} is compared with a whole number")
        return Compare(self.key, self.attribute, relation, operand, self.range_end)

    def __eq__(self, operand: object) -> Compare:  # type: ignore[override]  # a comparison is the point of this class
        return self._make(Relation.EQUAL, operand)

    def __ne__(self, operand: object) -> Compare:  # type: ignore[override]  # as above
        return self._make(Relation.NOT_EQUAL, operand)

    def __gt__(self, operand: object) -> Compare:
        return self._make(Relation.GREATER, operand)

    def __lt__(self, operand: object) -> Compare:
        return self._make(Relation.LESS, operand)

    __hash__ = None  # type: ignore[assignment]  # equality builds a Compare, so hashing would lie


def value(key: str | bytes) -> Subject:
    """The value of a key. A missing key fails every comparison of its value, even "not equal" (etcd)."""
    return Subject(_single(key), Attribute.VALUE)


def version(key: str | bytes) -> Subject:
    """The version of a key, 0 if it does not exist."""
    return Subject(_single(key), Attribute.VERSION)


def create_revision(key: str | bytes) -> Subject:
    """The create revision of a key, 0 if it does not exist."""
    return Subject(_single(key), Attribute.CREATE)


def mod_revision(key: str | bytes) -> Subject:
    """The mod revision of a key, 0 if it does not exist."""
    return Subject(_single(key), Attribute.MOD)


def lease_of(key: str | bytes) -> Subject:
    """The lease id of a key, 0 for none."""
    return Subject(_single(key), Attribute.LEASE)


def exists(key: str | bytes) -> Compare:
    """The key exists."""
    return create_revision(key) > 0


def missing(key: str | bytes) -> Compare:
    """The key does not exist."""
    return Compare(_single(key), Attribute.CREATE, Relation.EQUAL, 0)
