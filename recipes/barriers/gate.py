"""The program behind barriers: one key says whether it is closed.

The key stays: a barrier that is opened says so in it, where etcd's own recipe deletes it. A request that creates a key
if it is missing cannot tell a barrier that was never closed from one that was opened since it was sent, so one that
comes late would close it again, for ever. Here each change is compared with the revision that was read, and changes it
even if it finds what it wants, so that whatever was sent before it can do nothing any more.
"""

from __future__ import annotations

from typing import Final

from coord.model import KeyValue
from coord.ops import Attribute, Compare, Get, Put, Relation, Txn
from coord.port import Port
from coord.recipes.barriers.awaited import until
from coord.recipes.barriers.named import Limit
from coord.recipes.common.layout import barrier_of
from coord.recipes.common.patience import Patience

CLOSED: Final = b"closed"
OPEN: Final = b"open"


class Gate:
    """The barrier of one name.

    Args:
        port: what everything is awaited from.
        name: of the barrier.
    """

    def __init__(self, port: Port, name: bytes) -> None:
        self._port = port
        self.key = barrier_of(name)

    async def change(self, state: bytes, deadline: float | None) -> None:
        """Close or open it.

        A comparison that fails although the wanted state is not there is somebody else's change, or an own one that was
        given up and came late: this one is made after it.

        Raises:
            CallTimeout: it was not answered in time, and may have happened.
            RequestRefused, HistoryLost, ClosedError.
        """
        patience = Patience(self._port, deadline)
        look = Get(self.key)
        found = (await patience.read(look)).first
        while True:
            unchanged = Compare(self.key, Attribute.MOD, Relation.EQUAL, 0 if found is None else found.mod_revision)
            answer = await patience.txn(Txn((unchanged,), (Put(self.key, state),), (look,)))
            if answer.succeeded:
                return
            found = answer.range(0).first
            if found is not None and found.value == state:
                return  # an earlier copy of this request was done

    async def closed(self, deadline: float | None) -> bool:
        """Whether it is closed.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return not is_open((await self._port.range(Get(self.key), deadline=deadline)).first)

    async def passed(self, limit: Limit) -> None:
        """Wait until it is open.

        Raises:
            CallTimeout: it was not opened in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        await until(self._port, self.key, is_open, limit)


def is_open(item: KeyValue | None) -> bool:
    """True if a key like this lets everybody through; a missing one does."""
    return item is None or item.value != CLOSED
