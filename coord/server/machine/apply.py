"""The state machine: what a committed command does, and what a read sees.

The only writer of store, leases and alarms. The same commands in the same order give the same state and the same
answers on every member: no clock, no randomness and no member's own size decides anything here. A command is done whole
or, when `Refused` is raised, not at all.

Source: etcd server/etcdserver/apply/apply.go.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from coord.server.entry_pb2 import Envelope
from coord.server.invariant import invariant
from coord.server.machine import ranges
from coord.server.machine.alarms import Alarms
from coord.server.machine.lessor import Lessor
from coord.server.machine.members import Members
from coord.server.machine.txn import Transactions
from coord.server.machine.writing import Writer
from coord.server.mvcc import compaction, hashing
from coord.server.mvcc.records import varint
from coord.server.mvcc.store import Store
from coord.server.mvcc.watchers import WatchHub
from coord.server.storage.contract import Backend
from coord.statuses import LEASE_NOT_FOUND, Refused
from coord.wire import mvcc_pb2
from coord.wire import rpc_pb2 as pb

_SEVERAL: Final = 4
"""Ranges of up to a slice each that a transaction may read in one go."""

Response = Any  # one of the response messages of rpc.proto
Handler = Callable[[Any], Response]


class StateMachine:
    """Everything the log decides about: keys, leases, alarms, member attributes; and the watchers that look on."""

    def __init__(
        self,
        backend: Backend,
        *,
        cluster_id: int,
        member_id: int,
        term: Callable[[], int],
        now: Callable[[], float],
        min_lease_ttl: int = 2,
        max_request_bytes: int = 1536 * 1024,
    ) -> None:
        self.store = Store(backend)
        self.lessor = Lessor(backend, min_ttl=min_lease_ttl)
        self.alarms = Alarms(backend)
        self.members = Members(backend)
        self._ids = b"\x08%b\x10%b" % (varint(cluster_id), varint(member_id))
        self._cluster_id, self._member_id = cluster_id, member_id
        self._term = term
        self._now = now
        self._header_for = (-1, -1)  # (revision, term) that `_header` was encoded for
        self._header = b""
        self.watch_hub = WatchHub(self.store, self.encode_header, max_response_bytes=max_request_bytes + 512 * 1024)
        self._writer = Writer(self.store, self.lessor)
        self._transactions = Transactions(self.store, self.lessor, self._writer)
        self._handlers: dict[str, Handler] = {
            "put": self._put,
            "delete_range": self._delete_range,
            "txn": self._txn,
            "compaction": self._compaction,
            "lease_grant": self._lease_grant,
            "lease_revoke": self._lease_revoke,
            "lease_checkpoint": self._lease_checkpoint,
            "alarm": self._alarm,
            "member_attributes": self._member_attributes,
        }

    # --- the log

    def apply(self, envelope: Envelope) -> Response:
        """Do one command and return its response.

        Raises:
            Refused: the command is refused, on every member alike; nothing changed.
        """
        kind = str(envelope.WhichOneof("body"))
        handler = self._handlers.get(kind, _unknown)
        if self.alarms:
            self.alarms.check(kind, envelope)
        try:
            return handler(getattr(envelope, kind, kind))
        except Refused:
            invariant(not self.store.changed, "a command was refused after it had written", kind=kind)
            raise

    def _put(self, request: pb.PutRequest) -> pb.PutResponse:
        writer = self._writer
        writer.check_lease(request)
        writer.check_existing(request)
        previous = writer.put(request)
        self.store.commit()
        response = pb.PutResponse.FromString(self.header_field())
        if previous is not None:
            response.prev_kv.MergeFromString(previous)
        return response

    def _delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        deleted, previous = self._writer.delete_range(request)
        self.store.commit()
        response = pb.DeleteRangeResponse.FromString(self.header_field())
        response.deleted = deleted
        response.prev_kvs.extend(mvcc_pb2.KeyValue.FromString(record) for record in previous)
        return response

    def _txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        response = self._transactions.run(request)
        self.store.commit()
        response.MergeFromString(self.header_field())
        return response

    def _compaction(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        self.store.mark_compacted(request.revision)
        return pb.CompactionResponse.FromString(self.header_field())

    def _lease_grant(self, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        ttl = self.lessor.grant(request.ID, request.TTL, self._now())
        response = pb.LeaseGrantResponse.FromString(self.header_field())
        response.ID = request.ID
        response.TTL = ttl
        return response

    def _lease_revoke(self, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        if request.ID not in self.lessor:
            raise Refused(LEASE_NOT_FOUND)
        self._writer.delete(self.lessor.keys_of(request.ID))
        self.lessor.forget(request.ID)
        self.store.commit()
        return pb.LeaseRevokeResponse.FromString(self.header_field())

    def _lease_checkpoint(self, request: pb.LeaseCheckpointRequest) -> pb.LeaseCheckpointResponse:
        for checkpoint in request.checkpoints:
            self.lessor.checkpoint(checkpoint.ID, checkpoint.remaining_TTL)
        return pb.LeaseCheckpointResponse.FromString(self.header_field())

    def _alarm(self, request: pb.AlarmRequest) -> pb.AlarmResponse:
        response = pb.AlarmResponse.FromString(self.header_field())
        response.alarms.extend(self.alarms.apply(request))
        return response

    def _member_attributes(self, attributes: Any) -> pb.MemberUpdateResponse:
        """Cluster responses have a header without revision, see `header`."""
        members = self.members.publish(attributes)
        return pb.MemberUpdateResponse(header=self.header(revision=0), members=members)

    # --- reads

    def range(self, request: pb.RangeRequest) -> bytes:
        """The encoded RangeResponse, all at once; for ranges of unknown size take `range_steps`.

        Raises:
            Refused: the revision is compacted or not there yet.
        """
        if request.revision > 0:
            self.store.check_readable(request.revision)
        return ranges.reply(self.store, request, self.header_field())

    def range_is_large(self, request: pb.RangeRequest) -> bool:
        """True if `range` could hold up the loop and `range_steps` should be taken."""
        return ranges.is_large(self.store, request)

    def range_steps(self, request: pb.RangeRequest) -> Generator[None, None, bytes]:
        """Like `range`, as a generator that yields between slices of a few milliseconds and returns the reply.

        It sees the revision that was current at the first step, and the header names it. Close it to give up.

        Raises:
            Refused: the revision is compacted or not there yet.
        """
        if request.revision > 0:
            self.store.check_readable(request.revision)
        reply = yield from ranges.steps(self.store, request, self.header_field())
        return reply

    def read_txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """A transaction that cannot write, see `validate.is_readonly`; it needs no log entry.

        Raises:
            Refused: a revision it reads at is compacted or not there yet.
        """
        response = self._transactions.run(request)
        invariant(not self.store.changed, "a transaction that was taken for a read has written")
        response.MergeFromString(self.header_field())
        return response

    def read_txn_is_large(self, request: pb.TxnRequest) -> bool:
        """True if `read_txn` could hold up the loop and `read_txn_steps` should be taken."""
        reads = [one.request_range for branch in (request.success, request.failure) for one in branch]
        several = [read for read in reads if read.range_end]
        return len(several) > _SEVERAL or any(self.range_is_large(read) for read in several)

    def read_txn_steps(self, request: pb.TxnRequest) -> Generator[None, None, pb.TxnResponse]:
        """Like `read_txn`, as a generator; see `range_steps`.

        Raises:
            Refused: a revision it reads at is compacted or not there yet.
        """
        header = self.header_field()
        response = yield from self._transactions.read_steps(request)
        response.MergeFromString(header)
        return response

    def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """Remaining and granted TTL; -1 for a lease that does not exist, which is no error."""
        response = pb.LeaseTimeToLiveResponse.FromString(self.header_field())
        response.ID = request.ID
        if request.ID not in self.lessor:
            response.TTL = -1
            return response
        response.TTL = int(self.lessor.remaining(request.ID, self._now()))
        response.grantedTTL = self.lessor.granted(request.ID)
        if request.keys:
            response.keys.extend(self.lessor.keys_of(request.ID))
        return response

    def lease_leases(self) -> pb.LeaseLeasesResponse:
        """All leases, nearest expiry first."""
        response = pb.LeaseLeasesResponse.FromString(self.header_field())
        for lease_id in self.lessor.ids():
            response.leases.add(ID=lease_id)
        return response

    def lease_keep_alive(self, request: pb.LeaseKeepAliveRequest) -> pb.LeaseKeepAliveResponse:
        """Renew a lease; TTL 0 says that it does not exist or has run out. Only while the lessor is primary."""
        response = pb.LeaseKeepAliveResponse.FromString(self.header_field())
        response.ID = request.ID
        response.TTL = self.lessor.renew(request.ID, self._now())
        return response

    def hash_kv_steps(self, revision: int) -> Generator[None, None, pb.HashKVResponse]:
        """HashKV at `revision`, 0 for the current one, as a generator that yields between slices.

        Raises:
            Refused: the revision is compacted or not there yet.
        """
        if revision > 0:
            self.store.check_readable(revision)
        at = revision or self.store.revision
        compacted = self.store.compacted
        header = self.header_field()
        digest = yield from hashing.steps(self.store, at)
        response = pb.HashKVResponse.FromString(header)
        response.hash = digest
        response.compact_revision = compacted
        response.hash_revision = at
        return response

    def hash_kv(self, revision: int = 0) -> pb.HashKVResponse:
        """`hash_kv_steps` all at once.

        Raises:
            Refused: the revision is compacted or not there yet.
        """
        work = self.hash_kv_steps(revision)
        while True:
            try:
                next(work)
            except StopIteration as done:
                response: pb.HashKVResponse = done.value
                return response

    @property
    def revision(self) -> int:
        """The current revision of the store."""
        return self.store.revision

    @property
    def compact_revision(self) -> int:
        """Reads below are refused; -1 if nothing was ever compacted."""
        return self.store.compacted

    @property
    def scrubbed_revision(self) -> int:
        """Up to here compaction is physically finished."""
        return self.store.scrubbed

    # --- work in slices

    def compaction_steps(self) -> Iterator[bool]:
        """Drop what compaction marked, see `compaction.steps`; to be driven whenever `compaction_pending`."""
        return compaction.steps(self.store)

    @property
    def compaction_pending(self) -> bool:
        """True if a compaction is marked whose data is not all dropped."""
        return compaction.pending(self.store)

    # --- boot

    def restore_steps(self) -> Iterator[None]:
        """Rebuild everything from the backend, yielding between slices; leases do not run out until promoted."""
        self.alarms.load()
        self.members.load()
        self.lessor.load()
        leases = yield from self.store.load()
        self.lessor.load_keys(leases.items())

    def restore(self) -> None:
        """`restore_steps` all at once."""
        for _ in self.restore_steps():
            pass

    # --- headers

    def header(self, revision: int | None = None) -> pb.ResponseHeader:
        """The header of a top-level response: by default with the current revision."""
        return pb.ResponseHeader(
            cluster_id=self._cluster_id,
            member_id=self._member_id,
            revision=self.store.revision if revision is None else revision,
            raft_term=self._term(),
        )

    def header_field(self) -> bytes:
        """The encoded header as field 1 of a response. Encoded once for each revision, not for each response."""
        now = self.store.revision, self._term()
        if now != self._header_for:
            self._header = self.encode_header(now[0])
            self._header_for = now
        return self._header

    def encode_header(self, revision: int) -> bytes:
        """The header for `revision` as field 1 of a response."""
        term = self._term()
        header = b"%b%b%b" % (
            self._ids,
            b"\x18" + varint(revision) if revision else b"",
            b"\x20" + varint(term) if term else b"",
        )
        return b"\n%b%b" % (varint(len(header)), header)


def _unknown(kind: object) -> Response:
    """Going on after an entry that this version cannot read would fork the state."""
    invariant(False, "an entry of a kind that nobody handles", kind=kind)
