"""The contract between the replica and whatever reaches consensus.

The core is told things and hands out work; it never acts. For each batch of work (`Ready`) the replica must

1. make `entries` and `hard_state` durable (entries may overwrite earlier ones: truncate from the first index on);
2. only then send `messages`;
3. apply `committed` in order (this may run beside later rounds);
4. call `advance` before it takes the next Ready.

A leader's own append counts towards the commit only after `advance`, so nothing is committed that the disk does not
have. Steps 1 and 2 may overlap on a leader for messages that promise nothing about its own disk.

Source: etcd-io/raft doc.go and node.go; the one-member implementation is `coord.server.member.solo`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

NORMAL = 0
CONF_CHANGE = 1


@dataclass(slots=True)
class Entry:
    """One log entry; `data` is opaque bytes, empty for the entry a new leader starts its term with."""

    term: int
    index: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive a restart besides the entries."""

    term: int = 0
    vote: int = 0
    commit: int = 0


@dataclass(frozen=True, slots=True)
class ReadState:
    """Answer to `read_index`: a read asked with `token` is linearizable once `index` is applied."""

    token: bytes
    index: int


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """A position of the log whose effects are durable in the backend, with the membership at that point."""

    index: int
    term: int
    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()


@dataclass(slots=True)
class Ready:
    """One batch of work; see the module text for the order."""

    hard_state: HardState | None = None
    entries: list[Entry] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    read_states: list[ReadState] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    snapshot: SnapshotMark | None = None
    must_sync: bool = False


class Consensus(Protocol):
    """A member's consensus core: pure, single-threaded, without clock, disk or network."""

    @property
    def leader(self) -> int:
        """Member id of the leader, 0 if unknown."""
        ...

    @property
    def term(self) -> int: ...

    @property
    def commit(self) -> int: ...

    def tick(self) -> None:
        """One tick of the logical clock passed."""
        ...

    def propose(self, data: bytes) -> bool:
        """Append to the log if this member may; False if the proposal was dropped."""
        ...

    def read_index(self, token: bytes) -> bool:
        """Ask for a read state; False if it was dropped (no leader)."""
        ...

    def read_now(self) -> int:
        """Index at which a read is linearizable without asking anybody (the leader of a group of one), else -1."""
        ...

    def step(self, message: Any) -> None:
        """A message of another member arrived."""
        ...

    def has_ready(self) -> bool: ...

    def ready(self) -> Ready:
        """Take the next batch; not before the last one was advanced."""
        ...

    def advance(self) -> None:
        """The batch taken last is durable and sent, and its committed entries are handed over."""
        ...
