"""Leases: which there are, what is attached to them, and which have run out at a given instant.

Owns expiry instants, which are this member's alone: they depend on when it heard of a renewal and never enter the log.
Existence and TTL come from the log and are kept in the backend. `now` is always given; which clock it is, and that a
lease found due is revoked through the log, is the caller's business.

Source: etcd server/lease/lessor.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from sortedcontainers import SortedList

from coord.server.invariant import invariant
from coord.server.mvcc.records import read_varint, varint
from coord.server.storage.contract import Backend, Bucket
from coord.statuses import LEASE_EXISTS, LEASE_NOT_FOUND, LEASE_TTL_TOO_LARGE, Refused

MAX_TTL: Final = 9_000_000_000
RETRY_SECONDS: Final = 3.0
"""How long a revocation handed out may stay without effect before it is handed out again."""
REVOKES_PER_SECOND: Final = 1000
_ID_MASK: Final = (1 << 64) - 1


class Lease:
    """One lease; everything but `expiry` and `queued` is the same on every member."""

    __slots__ = ("expiry", "id", "keys", "queued", "remaining", "ttl")

    def __init__(self, lease_id: int, ttl: int, remaining: int = 0) -> None:
        self.id = lease_id
        self.ttl = ttl  # seconds granted
        self.remaining = remaining  # seconds left at the last checkpoint, 0 for all of `ttl`
        self.keys: set[bytes] = set()
        self.expiry = math.inf  # instant on the lessor's own time; never while this member does not lead
        self.queued = math.inf  # of its one entry in the queue; <= expiry unless a revocation is on its way


class Lessor:
    """All leases of the store."""

    def __init__(self, backend: Backend, *, min_ttl: int = 2) -> None:
        self._backend = backend
        self._min_ttl = min_ttl
        self._leases: dict[int, Lease] = {}
        self._of_key: dict[bytes, int] = {}  # attached key -> lease; mirrors Lease.keys
        self._queue: SortedList = SortedList()  # (queued, id) of the leases that can run out, one for each
        self._revoking: set[int] = set()  # handed out by `due` and not yet gone
        self._shift = 0.0  # seconds that did not count because the process stood still
        self._primary = False

    # --- what the log says

    def grant(self, lease_id: int, ttl: int, now: float) -> int:
        """Create a lease; returns the TTL it really has.

        Raises:
            Refused: the TTL is too large, or the id is taken.
        """
        if not lease_id:
            raise Refused(LEASE_NOT_FOUND)
        if ttl > MAX_TTL:
            raise Refused(LEASE_TTL_TOO_LARGE)
        if lease_id in self._leases:
            raise Refused(LEASE_EXISTS)
        lease = Lease(lease_id, max(ttl, self._min_ttl))
        self._leases[lease_id] = lease
        if self._primary:
            self._expire_at(lease, now - self._shift + lease.ttl)
        self._persist(lease)
        return lease.ttl

    def check(self, lease_id: int) -> None:
        """Refuse a lease that does not exist.

        Raises:
            Refused: LEASE_NOT_FOUND.
        """
        if lease_id not in self._leases:
            raise Refused(LEASE_NOT_FOUND)

    def forget(self, lease_id: int) -> None:
        """Remove a lease whose keys were deleted."""
        lease = self._leases.pop(lease_id)
        invariant(not lease.keys, "a lease was forgotten with keys attached", lease=lease_id)
        self._revoking.discard(lease_id)
        self._unqueue(lease)
        self._backend.delete(Bucket.LEASE, _stored_id(lease_id))

    def attach(self, lease_id: int, key: bytes) -> None:
        """Tie `key` to a lease, and to no other; 0 ties it to none."""
        old = self._of_key.get(key)
        if old == lease_id:
            return
        if old is not None:
            self._leases[old].keys.discard(key)
        if lease_id:
            self._leases[lease_id].keys.add(key)
            self._of_key[key] = lease_id
        elif old is not None:
            del self._of_key[key]

    def detach(self, key: bytes) -> None:
        """Untie `key`: it was deleted."""
        old = self._of_key.pop(key, None)
        if old is not None:
            self._leases[old].keys.discard(key)

    def checkpoint(self, lease_id: int, remaining: int) -> None:
        """The leader reported how much of a lease is left; counts when this member promotes itself."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.remaining = remaining
            self._persist(lease)

    # --- what only this member knows

    def promote(self, now: float, extend: float) -> None:
        """This member revokes from now on: every lease gets its full time again, and `extend` on top.

        Renewals that reached the last leader are unknown here, so anything less could end a lease that is kept alive.
        """
        self._primary = True
        base = now - self._shift + extend
        for lease in self._leases.values():
            lease.expiry = base + (lease.remaining or lease.ttl)
        if len(self._leases) >= REVOKES_PER_SECOND:
            self._spread()
        self._requeue()

    def demote(self) -> None:
        """Another member revokes from now on."""
        self._primary = False
        self._revoking.clear()
        for lease in self._leases.values():
            lease.expiry = math.inf
        self._requeue()

    @property
    def primary(self) -> bool:
        """True while this member decides which leases have run out."""
        return self._primary

    def renew(self, lease_id: int, now: float) -> int:
        """Give a lease its full time again; returns its TTL, 0 if it does not exist or has run out.

        A lease that has run out stays so while its revocation is on its way, also if a pause is made up for meanwhile:
        its keys are about to go, so nobody may be told that it lives.
        """
        invariant(self._primary, "a lease was renewed on a member that does not decide about it", lease=lease_id)
        lease = self._leases.get(lease_id)
        now -= self._shift
        if lease is None or lease_id in self._revoking or lease.expiry <= now:
            return 0
        lease.remaining = 0
        lease.expiry = now + lease.ttl  # its entry in the queue is early now; `due` moves it when it comes up
        return lease.ttl

    def due(self, now: float, limit: int = 500) -> list[int]:
        """Leases to revoke through the log, those that ran out first; each is handed out again after 3 s."""
        now -= self._shift
        queue, leases = self._queue, self._leases
        out: list[int] = []
        while queue and queue[0][0] <= now and len(out) < limit:
            lease_id = queue[0][1]
            lease = leases[lease_id]
            if lease.expiry > now and lease_id not in self._revoking:
                self._enqueue(lease, lease.expiry)
                continue
            out.append(lease_id)
            self._revoking.add(lease_id)
            self._enqueue(lease, now + RETRY_SECONDS)
        return out

    def next_due(self) -> float | None:
        """The instant before which `due` has nothing to hand out; None if nothing expires."""
        return self._queue[0][0] + self._shift if self._queue else None

    def lengthen_all(self, pause: float) -> None:
        """Time that the process spent stopped counts for no lease: holders could not renew while it lasted."""
        self._shift += pause

    def checkpoints(self, now: float, longer_than: float = 300.0) -> list[tuple[int, int]]:
        """(id, whole seconds left) of the leases worth a checkpoint."""
        now -= self._shift
        return [
            (lease.id, math.ceil(lease.expiry - now))
            for lease in self._leases.values()
            if math.isfinite(lease.expiry) and lease.expiry - now > longer_than
        ]

    # --- reads

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._leases

    def lease_of(self, key: bytes) -> int:
        """The lease that `key` is tied to, 0 for none."""
        return self._of_key.get(key, 0)

    def keys_of(self, lease_id: int) -> list[bytes]:
        """Keys tied to a lease, sorted."""
        return sorted(self._leases[lease_id].keys)

    def granted(self, lease_id: int) -> int:
        """The TTL a lease was granted."""
        return self._leases[lease_id].ttl

    def remaining(self, lease_id: int, now: float) -> float:
        """Seconds until a lease runs out; its TTL on a member that does not decide about it."""
        lease = self._leases[lease_id]
        if lease_id in self._revoking:
            return 0.0
        if not math.isfinite(lease.expiry):
            return float(lease.ttl)
        return max(0.0, lease.expiry - (now - self._shift))

    def is_expired(self, lease_id: int, now: float) -> bool:
        """True for a lease that exists but has run out: its revocation is due or on its way."""
        lease = self._leases.get(lease_id)
        return lease is not None and (lease_id in self._revoking or lease.expiry <= now - self._shift)

    @property
    def revoking(self) -> int:
        """How many revocations are on their way."""
        return len(self._revoking)

    def ids(self) -> list[int]:
        """All leases, nearest expiry first."""
        return [lease.id for lease in sorted(self._leases.values(), key=lambda lease: (lease.expiry, lease.id))]

    # --- restore

    def load(self) -> None:
        """Read the leases from the backend; they do not run out until `promote`."""
        self._leases = {}
        self._of_key = {}
        self._revoking = set()
        for _, record in self._backend.scan(Bucket.LEASE):
            lease = _decode(record)
            self._leases[lease.id] = lease
        self._requeue()

    def load_keys(self, leases: Iterable[tuple[bytes, int]]) -> None:
        """Attach what the store found attached; a lease that is gone leaves its keys behind without one."""
        for key, lease_id in leases:
            if lease_id in self._leases:
                self.attach(lease_id, key)

    # --- inside

    def _expire_at(self, lease: Lease, instant: float) -> None:
        lease.expiry = instant
        self._enqueue(lease, instant)

    def _enqueue(self, lease: Lease, instant: float) -> None:
        self._unqueue(lease)
        lease.queued = instant
        self._queue.add((instant, lease.id))

    def _unqueue(self, lease: Lease) -> None:
        """Entries of leases that are gone must not wait for their time: for a long lease that is for ever."""
        if math.isfinite(lease.queued):
            self._queue.remove((lease.queued, lease.id))

    def _requeue(self) -> None:
        for lease in self._leases.values():
            lease.queued = lease.expiry
        self._queue = SortedList(
            (lease.queued, lease.id) for lease in self._leases.values() if math.isfinite(lease.queued)
        )

    def _spread(self) -> None:
        """Move expiries that fall together apart, so that a new leader is not asked to revoke everything in one second.

        Source: etcd lessor.go Promote.
        """
        target = REVOKES_PER_SECOND * 3 // 4
        ordered = sorted(self._leases.values(), key=lambda lease: (lease.expiry, lease.id))
        base = ordered[0].expiry
        window = base + 1.0
        count = 0
        for lease in ordered:
            if lease.expiry > window:
                base, window, count = lease.expiry, lease.expiry + 1.0, 1
                continue
            count += 1
            if count > target:
                # What is n seconds ahead of the window's start already needs n seconds less.
                delay = count / target - (lease.expiry - base)
                window = base + delay
                lease.expiry += max(0.0, delay)

    def _persist(self, lease: Lease) -> None:
        self._backend.put(Bucket.LEASE, _stored_id(lease.id), _encode(lease))

    def self_check(self) -> None:
        """Every invariant of the fields above.

        Raises:
            InvariantBroken: one does not hold.
        """
        attached = {key: lease.id for lease in self._leases.values() for key in lease.keys}
        invariant(attached == self._of_key, "keys of leases differ from leases of keys")
        invariant(all(lease_id in self._leases for lease_id in self._revoking), "revoking a lease that is gone")
        queued = {(lease.queued, lease.id) for lease in self._leases.values() if math.isfinite(lease.queued)}
        invariant(set(self._queue) == queued and len(self._queue) == len(queued), "the queue differs from the leases")
        for lease in self._leases.values():
            invariant(lease.ttl >= self._min_ttl or not lease.ttl, "a TTL below the minimum", lease=lease.id)
            if math.isfinite(lease.expiry):
                invariant(math.isfinite(lease.queued), "a lease that nobody will find due", lease=lease.id)


def _stored_id(lease_id: int) -> bytes:
    return (lease_id & _ID_MASK).to_bytes(8, "big")


def _encode(lease: Lease) -> bytes:
    """leasepb.Lease, so that a snapshot for etcd can take the record as it is."""
    out = b"\x08%b\x10%b" % (varint(lease.id), varint(lease.ttl))
    return b"%b\x18%b" % (out, varint(lease.remaining)) if lease.remaining else out


def _decode(record: bytes) -> Lease:
    fields = {}
    at = 0
    while at < len(record):
        tag = record[at]
        fields[tag], at = read_varint(record, at + 1)
    lease_id = fields.get(0x08, 0)
    return Lease(lease_id - (1 << 64) if lease_id >> 63 else lease_id, fields.get(0x10, 0), fields.get(0x18, 0))
