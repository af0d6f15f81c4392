"""Transactions word by word: ``.when(missing("k")).put("k", "v")``. What commits them is a client's, or a guard's."""

from __future__ import annotations

from typing import Self

from coord import ops
from coord.errors import UsageError
from coord.ops import Compare, Op, Txn


class TxnBuilder:
    """Collects conditions and operations; every method returns the builder."""

    def __init__(self) -> None:
        self._compares: list[Compare] = []
        self._then: list[Op] = []
        self._otherwise: list[Op] = []

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} when={len(self._compares)} then={len(self._then)}"
            f" otherwise={len(self._otherwise)}>"
        )

    def when(self, *compares: Compare) -> Self:
        """Add conditions; all must hold, none at all always holds.

        Raises:
            UsageError: something is not a condition. ``value("k") == "x"`` is one, ``"k" == "x"`` is not.
        """
        for compare in compares:
            if not isinstance(compare, Compare):
                raise UsageError(f"a condition is made with value(), version(), exists() …, not {compare!r}")
        self._compares.extend(compares)
        return self

    def then(self, *operations: Op) -> Self:
        """Add operations for the case that all conditions hold."""
        self._then.extend(_checked(operations))
        return self

    def otherwise(self, *operations: Op) -> Self:
        """Add operations for the case that a condition does not hold."""
        self._otherwise.extend(_checked(operations))
        return self

    def put(
        self,
        key: str | bytes,
        value: str | bytes = b"",
        *,
        lease: int = 0,
        previous: bool = False,
        keep_lease: bool = False,
    ) -> Self:
        """Short for ``then(ops.put(…))``."""
        return self.then(ops.put(key, value, lease=lease, previous=previous, keep_lease=keep_lease))

    def get(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        range_end: str | bytes | None = None,
        limit: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> Self:
        """Short for ``then(ops.get(…))``."""
        return self.then(
            ops.get(key, prefix=prefix, range_end=range_end, limit=limit, keys_only=keys_only, count_only=count_only)
        )

    def delete(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        range_end: str | bytes | None = None,
        previous: bool = False,
    ) -> Self:
        """Short for ``then(ops.delete(…))``."""
        return self.then(ops.delete(key, prefix=prefix, range_end=range_end, previous=previous))

    @property
    def op(self) -> Txn:
        """What was collected, as a value; it can stand inside another transaction."""
        return Txn(tuple(self._compares), tuple(self._then), tuple(self._otherwise))


def _checked(operations: tuple[Op, ...]) -> tuple[Op, ...]:
    for operation in operations:
        if not isinstance(operation, (ops.Get, ops.Put, ops.Delete, Txn)):
            raise UsageError(f"an operation is made with ops.get, ops.put, ops.delete or Txn, not {operation!r}")
    return operations
