"""Refuses writes that would take the database over its quota, and raises the NOSPACE alarm.

Only the proposing member looks at its own size: the state machine of every member must decide the same, so there the
replicated alarm decides. A write that passes while others wait may still take the size over the limit, as in etcd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coord.server.logs import logger
from coord.server.machine.validate import LEASE_OVERHEAD, PUT_OVERHEAD, put_cost, txn_cost
from coord.statuses import Refused
from coord.wire.rpc_pb2 import AlarmRequest, AlarmType

_log = logger(__name__)


_PUT_BYTES_MIN = 7
"""The shortest put of a transaction: tag and length of operation, put and key, and a key of one byte."""


def dearest(request_bytes: int) -> int:
    """What no request of this size costs more than: nested transactions may hold any number of tiny puts."""
    return request_bytes + request_bytes // _PUT_BYTES_MIN * PUT_OVERHEAD


def cost(body: dict[str, Any]) -> int:
    """What a command may add to the database; 0 for what adds nothing."""
    if (put := body.get("put")) is not None:
        return put_cost(put)
    if (txn := body.get("txn")) is not None:
        return txn_cost(txn)
    return LEASE_OVERHEAD if "lease_grant" in body else 0


class Quota:
    """Guards one member's database."""

    def __init__(self, limit: int, largest: int, size: Callable[[], int], alarm: Callable[[], None]) -> None:
        """`limit` in bytes, `largest` the highest cost a request can have; `alarm` is called at each refusal."""
        self._limit = limit
        self._near = limit - largest
        self._size = size
        self._alarm = alarm

    def refuses(self, body: dict[str, Any]) -> bool:
        """True if `body` would take the database over the limit."""
        # Nearly always the size is far from the limit, and the cost of a transaction is a loop.
        size = self._size()
        if size <= self._near:
            return False
        added = cost(body)
        if added and size + added > self._limit:
            self._alarm()
            return True
        return False


class NoSpaceAlarm:
    """Proposes the alarm of this member, once at a time."""

    def __init__(self, member_id: int, propose: Callable[..., Any]) -> None:
        self._member_id = member_id
        self._propose = propose
        self._under_way = False

    def raise_once(self) -> None:
        """Propose the alarm unless a proposal of it is not answered yet."""
        if self._under_way:
            return
        request = AlarmRequest(
            action=AlarmRequest.AlarmAction.ACTIVATE, memberID=self._member_id, alarm=AlarmType.NOSPACE
        )
        try:
            pending = self._propose(alarm=request)
        except Refused as refused:
            # The next write that is refused for space tries again; the local refusal holds meanwhile.
            _log.warning("the NOSPACE alarm could not be proposed", reason=refused.status.text)
            return
        self._under_way = True
        pending.on_done(self._answered)

    def _answered(self, _: Any) -> None:
        self._under_way = False
