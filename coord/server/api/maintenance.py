"""The Maintenance service: how the member is, and its alarms.

Source: etcd server/etcdserver/api/v3rpc/maintenance.go.
"""

from __future__ import annotations

from typing import Any

from coord.server.member.replica import Replica
from coord.server.storage.contract import Backend
from coord.server.transport.context import Context
from coord.server.transport.table import Row, Rule
from coord.server.version import ETCD_VERSION, STORAGE_VERSION
from coord.statuses import NO_LEADER
from coord.wire import methods, rpc_pb2

# A client may raise an alarm of a type that has no name.
_ALARM_NAMES: dict[int, str] = {number: name for name, number in rpc_pb2.AlarmType.items()}


class MaintenanceApi:
    """Status and alarms of one member."""

    def __init__(self, replica: Replica, backend: Backend, *, quota_bytes: int) -> None:
        self._replica = replica
        self._state = replica.state
        self._backend = backend
        self._quota_bytes = quota_bytes

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [
            Row(methods.STATUS, self.status, Rule.USER, needs_leader=False),
            Row(methods.ALARM, self.alarm, Rule.ADMIN, writes=True),
        ]

    def status(self, ctx: Context, request: rpc_pb2.StatusRequest) -> rpc_pb2.StatusResponse:
        """What this member knows of itself; answered without a quorum."""
        replica, backend = self._replica, self._backend
        errors = [] if replica.leader else [NO_LEADER.text]
        for alarm in self._state.alarms.get():
            # The space at the end is etcd's.
            errors.append(f"memberID:{alarm.memberID} alarm:{_ALARM_NAMES.get(alarm.alarm, alarm.alarm)} ")
        return rpc_pb2.StatusResponse(
            header=self._state.header(),
            version=ETCD_VERSION,
            dbSize=backend.size,
            leader=replica.leader,
            raftIndex=replica.commit,
            raftTerm=replica.term,
            raftAppliedIndex=replica.applied,
            errors=errors,
            dbSizeInUse=backend.size_in_use,
            storageVersion=STORAGE_VERSION,
            dbSizeQuota=self._quota_bytes,
            downgradeInfo=rpc_pb2.DowngradeInfo(),
        )

    def alarm(self, ctx: Context, request: rpc_pb2.AlarmRequest) -> Any:
        """List, raise or clear alarms.

        Listing goes through the log as well, as in etcd: an alarm that this member has just proposed because it refused
        a write must be in the answer to whoever asks after that refusal.

        Raises:
            Refused: the request cannot be taken now.
        """
        identity = ctx.identity
        return self._replica.propose(user=identity.user, auth_revision=identity.auth_revision, alarm=request)
