"""Values that users hold: frozen, small, free of protobuf.

Keys and values are bytes as etcd stores them; `text` and `name` decode them as UTF-8 for the common case.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Header(NamedTuple):
    """Where an answer comes from.

    Attributes:
        cluster_id: id of the cluster.
        member_id: id of the member that answered.
        revision: revision of the store when it answered (0 where etcd leaves it out).
        term: Raft term.
    """

    cluster_id: int = 0
    member_id: int = 0
    revision: int = 0
    term: int = 0


class KeyValue(NamedTuple):
    """One key at one revision.

    Attributes:
        key: key bytes, without the client's namespace.
        value: value bytes (empty where only keys were asked for).
        create_revision: revision that created this incarnation of the key.
        mod_revision: revision of the last put.
        version: number of puts since creation, starting at 1.
        lease: id of the attached lease, 0 for none.
    """

    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0

    @property
    def name(self) -> str:
        """The key as text."""
        return self.key.decode("utf-8", "backslashreplace")

    @property
    def text(self) -> str:
        """The value as text.

        Raises:
            UnicodeDecodeError: the value is not UTF-8.
        """
        return self.value.decode("utf-8")


@dataclass(frozen=True, slots=True)
class PutResult:
    """Answer to a put; `previous` only if it was asked for and existed."""

    header: Header
    previous: KeyValue | None = None

    @property
    def revision(self) -> int:
        """Revision that this put made."""
        return self.header.revision


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """Answer to a delete: how many keys went, and which if that was asked for."""

    header: Header
    deleted: int = 0
    previous: Sequence[KeyValue] = ()


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Answer to a range: keys in the order asked for.

    Attributes:
        header: header.revision is the store's current revision even if an older one was read.
        items: the keys.
        more: True if the limit cut keys off.
        count: keys in the range, whatever limit and filters say.
    """

    header: Header
    items: Sequence[KeyValue] = ()
    more: bool = False
    count: int = 0

    @property
    def first(self) -> KeyValue | None:
        """The first key, None if there is none."""
        return self.items[0] if self.items else None


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Answer to a transaction: which branch ran and one result for each of its operations."""

    header: Header
    succeeded: bool
    results: Sequence[PutResult | DeleteResult | RangeResult | TxnResult] = ()

    def __bool__(self) -> bool:
        return self.succeeded

    def range(self, position: int) -> RangeResult:
        """The result at `position`, which must be a range.

        Raises:
            TypeError: it is the result of another operation.
        """
        found = self.results[position]
        if not isinstance(found, RangeResult):
            raise TypeError(f"result {position} is a {type(found).__name__}, not a RangeResult")
        return found


class EventKind(enum.Enum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key.

    Attributes:
        kind: PUT or DELETE.
        item: the key after the change; for a DELETE only key and mod_revision are set.
        previous: the key before, only if it was asked for and is still stored.
    """

    kind: EventKind
    item: KeyValue
    previous: KeyValue | None = None

    @property
    def created(self) -> bool:
        """True if this put created the key."""
        return self.kind is EventKind.PUT and self.item.create_revision == self.item.mod_revision


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All events of one revision that a watch matches, or a mark without events.

    Attributes:
        revision: everything that matches up to and including this revision has now been delivered.
        events: the events of exactly this revision, in order; empty for a progress mark.
        resync: True if the events between were compacted away: `items` is the whole state at `revision`, to replace
            what the reader knew.
        items: only with resync: every key in the watched range at `revision`.
    """

    revision: int
    events: Sequence[Event] = ()
    resync: bool = False
    items: Sequence[KeyValue] = ()


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A lease as the server granted it; `ttl` in seconds may be larger than the wish."""

    id: int
    ttl: int
    header: Header = field(default_factory=Header)


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease as the server sees it now.

    Attributes:
        id: lease id.
        remaining: whole seconds left, -1 if the lease does not exist.
        granted: seconds granted.
        keys: attached keys if asked for.
    """

    id: int
    remaining: int
    granted: int = 0
    keys: Sequence[bytes] = ()

    @property
    def exists(self) -> bool:
        """False if the lease does not exist (any more)."""
        return self.remaining >= 0


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster."""

    id: int
    name: str = ""
    peer_urls: Sequence[str] = ()
    client_urls: Sequence[str] = ()
    learner: bool = False


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What one endpoint says of itself.

    Attributes:
        endpoint: the endpoint asked.
        version: server version.
        db_size: bytes allocated on disk.
        db_size_in_use: bytes in use.
        leader: member id of the leader, 0 for none.
        raft_index: committed index.
        raft_term: current term.
        raft_applied_index: applied index.
        errors: texts such as active alarms.
        learner: True for a non-voting member.
    """

    header: Header
    endpoint: str = ""
    version: str = ""
    db_size: int = 0
    db_size_in_use: int = 0
    leader: int = 0
    raft_index: int = 0
    raft_term: int = 0
    raft_applied_index: int = 0
    errors: Sequence[str] = ()
    learner: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """A member that is in trouble: `kind` is "NOSPACE" or "CORRUPT"."""

    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class KeyspaceHash:
    """A member's hash of everything stored up to a revision; equal members have equal hashes.

    Attributes:
        header: of the answer.
        hash: the hash.
        compact_revision: the member's compaction, to compare only members that agree in it.
    """

    header: Header
    hash: int
    compact_revision: int = 0


class Access(enum.Enum):
    """What a permission allows."""

    READ = 0
    WRITE = 1
    READWRITE = 2


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission of a role: `access` to [key, range_end), or to `key` alone if `range_end` is empty."""

    access: Access
    key: bytes
    range_end: bytes = b""


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """Whether the cluster asks for users; `revision` grows with every change of users and roles."""

    header: Header
    enabled: bool
    revision: int = 0


class LeaseState(enum.Enum):
    """What the owner of a lease knows of it.

    HELD: proven alive. UNSURE: a renewal is overdue but the local deadline has not passed. LOST: gone, or no longer
    provable; never becomes anything else again.
    """

    HELD = "held"
    UNSURE = "unsure"
    LOST = "lost"


class Default(enum.Enum):
    """Type of the `DEFAULT` marker."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "coord.DEFAULT"


DEFAULT = Default.DEFAULT
"""Pass as `timeout` (it is the default) for: the client's timeout on calls, for ever on waits."""

LONGEST_TTL: Final = 9_000_000_000
"""Seconds of the longest lease that etcd grants."""

LONGEST_TIMEOUT: Final = 1e9
"""Seconds from which on a timeout means for ever; gRPC counts nanoseconds and stands still when they overflow."""
