"""The Lease service.

Source: etcd server/etcdserver/api/v3rpc/lease.go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from coord.server.member.pending import Pending
from coord.server.member.replica import Replica
from coord.server.transport.answers import after
from coord.server.transport.context import Context, Stream
from coord.server.transport.table import Row, Rule
from coord.statuses import NO_LEADER, TIMED_OUT, Refused
from coord.wire import methods, rpc_pb2

_POSITIVE = 2**63 - 1


class LeaseApi:
    """Grant, revoke, keep alive and look at leases."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._state = replica.state
        self._lessor = replica.state.lessor
        # Keep-alives of leases that have run out and wait for their revocation, by lease.
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        replica.after_apply.append(self._wake)

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [
            Row(methods.LEASE_GRANT, self.grant, Rule.USER, writes=True),
            Row(methods.LEASE_REVOKE, self.revoke, Rule.LEASE, writes=True),
            Row(methods.LEASE_KEEP_ALIVE, self.keep_alive, Rule.LEASE),
            Row(methods.LEASE_TIME_TO_LIVE, self.time_to_live, Rule.LEASE),
            Row(methods.LEASE_LEASES, self.leases, Rule.LEASE),
        ]

    def grant(self, ctx: Context, request: rpc_pb2.LeaseGrantRequest) -> Pending[Any]:
        """Create a lease, under an id of our choice unless the client chose one.

        Raises:
            Refused: the request cannot be taken now.
        """
        if not request.ID:
            request.ID = self._free_id()
        return self._propose(ctx, lease_grant=request)

    def revoke(self, ctx: Context, request: rpc_pb2.LeaseRevokeRequest) -> Pending[Any]:
        """End a lease and delete its keys.

        Raises:
            Refused: the request cannot be taken now.
        """
        return self._propose(ctx, lease_revoke=request)

    def time_to_live(self, ctx: Context, request: rpc_pb2.LeaseTimeToLiveRequest) -> Any:
        """Tell what is left of a lease.

        Raises:
            Refused: no leader could vouch for the answer.
        """
        return after(self._replica.read_barrier(), lambda: self._state.lease_time_to_live(request))

    def leases(self, ctx: Context, request: rpc_pb2.LeaseLeasesRequest) -> Any:
        """All leases.

        Raises:
            Refused: no leader could vouch for the answer.
        """
        return after(self._replica.read_barrier(), self._state.lease_leases)

    async def keep_alive(self, ctx: Context, stream: Stream) -> None:
        """Renew leases as asked, one answer for each request; ends when the client has no more.

        Raises:
            Refused: this member does not decide about leases now.
        """
        while (request := await stream.receive()) is not None:
            if not self._lessor.primary:
                raise Refused(NO_LEADER)
            response = self._state.lease_keep_alive(request)
            if not response.TTL and request.ID in self._lessor:
                # It has run out and is being revoked: "gone" is said only when its keys are gone, too.
                await self._gone(request.ID)
            await stream.send(response)

    async def _gone(self, lease_id: int) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lease_id, []).append(future)
        try:
            async with asyncio.timeout(self._replica.limits.request_timeout):
                await future
        except TimeoutError:
            raise Refused(TIMED_OUT) from None
        finally:
            waiting = self._waiting.get(lease_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(lease_id, None)

    def _wake(self) -> None:
        for lease_id in [one for one in self._waiting if one not in self._lessor]:
            for future in self._waiting.pop(lease_id):
                if not future.done():
                    future.set_result(None)

    def _free_id(self) -> int:
        while not (lease_id := self._replica.new_id() & _POSITIVE) or lease_id in self._lessor:
            pass
        return lease_id

    def _propose(self, ctx: Context, **body: Any) -> Pending[Any]:
        identity = ctx.identity
        return self._replica.propose(user=identity.user, auth_revision=identity.auth_revision, **body)
