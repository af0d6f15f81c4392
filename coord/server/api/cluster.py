"""The Cluster service: who is a member. Responses have no revision, as in etcd.

Source: etcd server/etcdserver/api/v3rpc/member.go.
"""

from __future__ import annotations

from typing import Any

from coord.server.member.replica import Replica
from coord.server.transport.answers import after
from coord.server.transport.context import Context
from coord.server.transport.table import Row, Rule
from coord.wire import methods, rpc_pb2


class ClusterApi:
    """Membership as clients see it."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._state = replica.state

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [Row(methods.MEMBER_LIST, self.member_list, Rule.USER)]

    def member_list(self, ctx: Context, request: rpc_pb2.MemberListRequest) -> Any:
        """All members, sorted by id.

        Raises:
            Refused: a linearizable answer was asked for and no leader could vouch for it.
        """
        return after(self._replica.read_barrier() if request.linearizable else None, self._members)

    def _members(self) -> rpc_pb2.MemberListResponse:
        state = self._state
        return rpc_pb2.MemberListResponse(header=state.header(revision=0), members=state.members.list())
