"""The program of a wait for one key."""

from __future__ import annotations

from collections.abc import Callable

from coord.errors import CallTimeout, Compacted
from coord.model import EventKind, KeyValue
from coord.ops import Get
from coord.port import Port, WatchTarget
from coord.recipes.barriers.named import Limit
from coord.recipes.common.patience import Patience


async def until(port: Port, key: bytes, fits: Callable[[KeyValue | None], bool], limit: Limit) -> None:
    """Return once the key is as wanted, be it for a moment: it is watched from the revision of the read.

    Raises:
        CallTimeout: it was not in time, or at once if the limit says not to wait.
        RequestRefused, HistoryLost, ClosedError.
    """
    patience = Patience(port, limit.deadline)
    while True:
        seen = await patience.read(Get(key))
        if fits(seen.first):
            return
        if not limit.wait:
            raise CallTimeout("it was not to be waited for")
        if await _changes(port, key, fits, seen.header.revision + 1, limit.deadline):
            return


async def _changes(
    port: Port, key: bytes, fits: Callable[[KeyValue | None], bool], from_revision: int, deadline: float | None
) -> bool:
    """Wait until the key becomes as wanted; False if what happened was forgotten and it must be read again."""
    watch = port.watch([WatchTarget(key)], from_revision=from_revision)
    try:
        while True:
            batch = await watch.next(deadline=deadline)
            if any(fits(event.item if event.kind is EventKind.PUT else None) for event in batch.events):
                return True
    except Compacted:
        return False
    finally:
        watch.close()
