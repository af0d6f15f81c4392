"""The simulator's server: the bundled server's own state machine and lessor, on a virtual clock.

Each request is applied whole when it arrives; the backend survives a restart. There is no network here and no second
model of what etcd does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coord.model import Event, EventKind, KeyValue, LeaseGrant, RangeResult, TxnResult
from coord.ops import Get, Put, Txn
from coord.server.entry_pb2 import Envelope
from coord.server.machine.apply import StateMachine
from coord.server.member.commands import VERSION
from coord.server.mvcc.records import decode_record
from coord.server.mvcc.store import Change
from coord.server.mvcc.streams import WatchStream
from coord.server.storage.memory import MemoryBackend
from coord.statuses import Refused
from coord.wire import convert, rpc_pb2
from coord.wire.status import from_refused

ELECTION_SECONDS = 1.0  # what a restart gives every lease on top of its full time

Listener = Callable[[int, list[Event]], None]


class SimServer:
    """One server; `listeners` hear of every commit and survive restarts."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._backend = MemoryBackend()
        self._term = 1
        self.listeners: list[Listener] = []
        self._boot()
        self.machine.lessor.promote(now(), 0.0)

    def _boot(self) -> None:
        self.machine = StateMachine(self._backend, cluster_id=1, member_id=1, term=lambda: self._term, now=self._now)
        self.machine.store.listen(self._committed)

    def _committed(self, revision: int, changes: list[Change]) -> None:
        events = [_event(revision, change) for change in changes]
        for listener in self.listeners:
            listener(revision, events)

    # --- requests

    def txn(self, request: Txn) -> TxnResult:
        """Commit a transaction.

        Raises:
            RequestRefused: the server refuses it.
        """
        answer = self._apply(Envelope(version=VERSION, txn=convert.txn_request(request)), write=request.writes)
        return convert.txn_result(answer)

    def range(self, request: Get) -> RangeResult:
        """Read.

        Raises:
            RequestRefused: the server refuses it.
        """
        try:
            answer = self.machine.range(convert.range_request(request))
        except Refused as refused:
            raise from_refused(refused, write=False) from None
        return convert.range_result(rpc_pb2.RangeResponse.FromString(answer))

    def grant(self, lease: int, ttl: int) -> LeaseGrant:
        """Make a lease.

        Raises:
            RequestRefused: the id is taken.
        """
        return convert.lease_grant(
            self._apply(Envelope(version=VERSION, lease_grant=convert.grant_request(ttl, lease)))
        )

    def renew(self, lease: int) -> int:
        """Renew a lease; its TTL, 0 if there is none."""
        return self.machine.lease_keep_alive(convert.keep_alive_request(lease)).TTL

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys.

        Raises:
            LeaseNotFound: there is none.
        """
        self._apply(Envelope(version=VERSION, lease_revoke=convert.revoke_request(lease)))

    def _apply(self, envelope: Envelope, *, write: bool = True) -> Any:
        try:
            return self.machine.apply(envelope)
        except Refused as refused:
            raise from_refused(refused, write=write) from None

    def watch(self, request: rpc_pb2.WatchCreateRequest, wake: Callable[[], None]) -> WatchStream:
        """A watch stream with one watcher; what happened already is in its queue."""
        hub = self.machine.watch_hub
        stream = hub.open(wake)
        stream.create(request)
        while hub.catch_up():
            pass
        return stream

    # --- what happens to a server

    def restart(self) -> None:
        """The process ends and starts again on the same backend; every lease gets its full time."""
        self._term += 1
        self._boot()
        self.machine.restore()
        self.machine.lessor.promote(self._now(), ELECTION_SECONDS)

    def expire(self) -> int:
        """Revoke the leases that have run out; how many."""
        due = self.machine.lessor.due(self._now())
        for lease in due:
            self.revoke(lease)
        return len(due)

    def compact(self, revision: int = 0) -> None:
        """Forget everything before `revision`, 0 for the current one."""
        revision = revision or self.machine.revision
        if revision > self.machine.compact_revision:
            self._apply(Envelope(version=VERSION, compaction=convert.compact_request(revision, physical=True)))
            for _ in self.machine.compaction_steps():
                pass

    # --- what a test may look at, or do behind everybody's back

    @property
    def boots(self) -> int:
        """How often it was started."""
        return self._term

    def put(self, key: bytes, value: bytes) -> None:
        """Somebody else writes a key."""
        self.txn(Txn(then=(Put(key, value),)))

    @property
    def next_expiry(self) -> float | None:
        """When the first lease runs out, None if none does."""
        return self.machine.lessor.next_due()

    def create_revision(self, key: bytes) -> int:
        """Create revision of a key, 0 if it does not exist."""
        index = self.machine.store.index
        return index.incarnation(key)[0] if key in index.live else 0

    def keys(self, prefix: bytes) -> list[bytes]:
        """All keys with this prefix."""
        return [key for key in self.machine.store.index.live if key.startswith(prefix)]


def _event(revision: int, change: Change) -> Event:
    _, record, deleted = change
    found = decode_record(record)
    if deleted:
        return Event(EventKind.DELETE, KeyValue(found.key, mod_revision=revision))
    item = KeyValue(found.key, found.value, found.create, found.mod, found.version, found.lease)
    return Event(EventKind.PUT, item)
