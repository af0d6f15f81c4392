"""Revokes leases that have run out, through the log like any other command."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from coord.server.logs import logger
from coord.server.machine.lessor import Lessor
from coord.server.member.figures import Figures
from coord.server.member.pending import Pending
from coord.statuses import LEASE_NOT_FOUND, Refused
from coord.wire.rpc_pb2 import LeaseRevokeRequest

_log = logger(__name__)

# Source: etcd server/lease/lessor.go and server.go: 500 ms, leaseRevokeRate / 2, maxPendingRevokes.
SCAN_SECONDS = 0.5
PER_SCAN = 500
IN_FLIGHT = 16


class LeaseExpiry:
    """Asks the lessor every `SCAN_SECONDS` and keeps at most `IN_FLIGHT` revocations on their way.

    What is not revoked within three seconds the lessor hands out again, so a failed revocation needs nothing here.
    """

    def __init__(
        self,
        lessor: Lessor,
        propose: Callable[..., Pending[Any]],
        now: Callable[[], float],
        figures: Figures,
    ) -> None:
        self._lessor = lessor
        self._propose = propose
        self._figures = figures
        self._now = now
        self._waiting: deque[int] = deque()
        self._in_flight: set[int] = set()

    def scan(self) -> None:
        """Look for leases that ran out, unless the last scan's are still waiting their turn."""
        now = self._now()
        if not self._lessor.primary:
            self._waiting.clear()
            return
        if not self._waiting:
            self._waiting.extend(self._lessor.due(now, PER_SCAN))
        self._send()

    def _send(self) -> None:
        while self._waiting and len(self._in_flight) < IN_FLIGHT:
            lease_id = self._waiting.popleft()
            if lease_id in self._in_flight:
                continue
            try:
                pending = self._propose(lease_revoke=LeaseRevokeRequest(ID=lease_id))
            except Refused as refused:
                _log.warning("an expired lease could not be revoked now", lease=f"{lease_id:x}", why=str(refused))
                self._waiting.clear()
                return
            self._in_flight.add(lease_id)
            pending.on_done(lambda pending, lease_id=lease_id: self._revoked(lease_id, pending))  # type: ignore[misc]  # mypy cannot infer a default's type

    def _revoked(self, lease_id: int, pending: Pending[Any]) -> None:
        self._in_flight.discard(lease_id)
        error = pending.error
        if error is None:
            self._figures.leases_expired += 1
        elif not (isinstance(error, Refused) and error.status == LEASE_NOT_FOUND):
            _log.warning("revoking an expired lease failed", lease=f"{lease_id:x}", why=str(error))
        self._send()
