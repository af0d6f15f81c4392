"""Who stands in the queue of a lock, a read/write lock or a semaphore, and who of them holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coord.model import KeyValue
from coord.recipes.common.layout import contender_prefix, writers_of
from coord.recipes.ownership.owner import Owner, parse_owner


@dataclass(frozen=True, slots=True)
class Contender:
    """One place in a queue.

    Attributes:
        position: 0 for who came first of those that are left.
        owner: what it says of itself.
        key: its key.
        create_revision: what the queue is ordered by, and the holder's fence.
        lease: the lease it hangs on.
        mode: "lock", "read", "write" or "permit".
        holds: True if it has what it asked for.
    """

    position: int
    owner: Owner
    key: bytes
    create_revision: int
    lease: int
    mode: str
    holds: bool


def in_line(items: Iterable[KeyValue]) -> list[Contender]:
    """The queue of a lock, oldest first: the first one holds it."""
    return [_contender(position, item, "lock", position == 0) for position, item in enumerate(items)]


def sharing(name: bytes, items: Sequence[KeyValue]) -> list[Contender]:
    """The queue of a read/write lock: readers hold it together unless a writer came before, a writer if it is first."""
    writers = contender_prefix(writers_of(name))
    found, behind_writer = [], False
    for position, item in enumerate(items):
        writes = item.key.startswith(writers)
        holds = position == 0 if writes else not behind_writer
        found.append(_contender(position, item, "write" if writes else "read", holds))
        behind_writer = behind_writer or writes
    return found


def with_permits(items: Iterable[KeyValue], permits: int) -> list[Contender]:
    """The queue of a semaphore: as many of the oldest as there are permits hold one."""
    return [_contender(position, item, "permit", position < permits) for position, item in enumerate(items)]


def _contender(position: int, item: KeyValue, mode: str, holds: bool) -> Contender:
    return Contender(position, parse_owner(item.value), item.key, item.create_revision, item.lease, mode, holds)
