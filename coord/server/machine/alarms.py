"""Alarms: flags on members that the log raises and clears, and what they forbid meanwhile.

Source: etcd server/etcdserver/api/v3alarm/alarms.go, server/etcdserver/apply/apply.go (applierV3Capped,
applierV3Corrupt).
"""

from __future__ import annotations

from typing import Final

from coord.server.entry_pb2 import Envelope
from coord.server.machine.validate import txn_cost
from coord.server.storage.contract import Backend, Bucket
from coord.statuses import CORRUPT, NO_SPACE, Refused
from coord.wire import rpc_pb2 as pb

_CORRUPT_FORBIDS: Final = frozenset(("put", "delete_range", "txn", "compaction", "lease_grant", "lease_revoke"))


class Alarms:
    """The alarms that are set, as (type, member id)."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._set: dict[tuple[int, int], bytes] = {}  # insertion order is log order, the same on every member

    def load(self) -> None:
        """Read the alarms from the backend."""
        self._set = {}
        for stored, _ in self._backend.scan(Bucket.ALARM):
            member = pb.AlarmMember.FromString(stored)
            self._set[member.alarm, member.memberID] = stored

    def apply(self, request: pb.AlarmRequest) -> list[pb.AlarmMember]:
        """Get, raise or clear; returns the alarms that the response lists."""
        match request.action:
            case pb.AlarmRequest.GET:
                return self.get(request.alarm)
            case pb.AlarmRequest.ACTIVATE:
                return self._activate(request.alarm, request.memberID)
            case pb.AlarmRequest.DEACTIVATE:
                return self._deactivate(request.alarm, request.memberID)
            case _:
                return []

    def get(self, alarm: int = pb.NONE) -> list[pb.AlarmMember]:
        """The alarms of one type, or all; by type and member, so that members that restarted list them alike."""
        return [
            pb.AlarmMember(memberID=member, alarm=kind)  # type: ignore[arg-type]  # stubs want the enum, wire has ints
            for kind, member in sorted(self._set)
            if alarm in (pb.NONE, kind)
        ]

    def __bool__(self) -> bool:
        return bool(self._set)

    def is_set(self, alarm: int) -> bool:
        """True if any member has this alarm."""
        return any(kind == alarm for kind, _ in self._set)

    def check(self, kind: str, envelope: Envelope) -> None:
        """Refuse what an alarm forbids.

        Raises:
            Refused: CORRUPT, or NO_SPACE for whatever could add data: even a put in a branch that is not taken.
        """
        if kind in _CORRUPT_FORBIDS and self.is_set(pb.CORRUPT):
            raise Refused(CORRUPT)
        adds = kind in ("put", "lease_grant") or (kind == "txn" and txn_cost(envelope.txn) > 0)
        if adds and self.is_set(pb.NOSPACE):
            raise Refused(NO_SPACE)

    def _activate(self, kind: int, member_id: int) -> list[pb.AlarmMember]:
        if kind == pb.NONE:
            return []
        member = pb.AlarmMember(memberID=member_id, alarm=kind)  # type: ignore[arg-type]  # the wire has ints
        if (kind, member_id) not in self._set:
            stored = member.SerializeToString(deterministic=True)
            self._set[kind, member_id] = stored
            self._backend.put(Bucket.ALARM, stored, b"")
        return [member]

    def _deactivate(self, kind: int, member_id: int) -> list[pb.AlarmMember]:
        stored = self._set.pop((kind, member_id), None)
        if stored is None:
            return []
        self._backend.delete(Bucket.ALARM, stored)
        return [pb.AlarmMember.FromString(stored)]
