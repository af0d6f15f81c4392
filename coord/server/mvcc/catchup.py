"""Serves one watcher from the store: reads what it missed and gathers it into responses of whole revisions.

Source: etcd server/storage/mvcc/watcher_group.go (eventBatch), watchable_store.go (syncWatchers).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final

from coord.server.mvcc import events
from coord.server.mvcc.records import REVISION_KEY_LEN, main_of, revision_key
from coord.server.mvcc.store import Change, Store
from coord.server.mvcc.streams import Watcher

REVISIONS_PER_RESPONSE: Final = 1000
BYTES_PER_RESPONSE: Final = 1 << 20
_HELD_BYTES: Final = 1 << 12
_FEW_KEYS: Final = 16
_REVISIONS_OF_KEY: Final = 4
_COST_BYTES: Final = 1 << 12
"""Bytes of records that cost as much as looking at one more record."""


def read(store: Store, watcher: Watcher, budget: int) -> int:
    """Gather what `watcher` missed into its batch, until that is whole or the budget is spent; returns the cost.

    Reads the history of the watcher's keys, or the log of all keys where that gets further. Stops after a whole
    revision and moves `watcher.next` behind what was looked at.
    """
    behind = store.revision - watcher.next + 1
    keys = 1 if watcher.end == b"" else store.index.known_count(watcher.start, watcher.end)
    cost = 0
    if keys <= max(_FEW_KEYS, min(behind, budget)):
        found, end = _history(store, watcher, budget)
        cost = keys
        if end > store.revision or end - watcher.next >= budget:
            history = ((main, store.changes_at(stored)) for main, stored in found)
            return cost + _gather(store, watcher, history, end, budget)
    up_to = min(store.revision, watcher.next + budget - 1)
    log = ((main, store.changes_of(main)) for main in range(watcher.next, up_to + 1))
    return cost + _gather(store, watcher, log, up_to + 1, budget)


def is_whole(watcher: Watcher) -> bool:
    """True if the batch should go out as it is."""
    return watcher.batch_revisions >= REVISIONS_PER_RESPONSE or watcher.batch_bytes >= BYTES_PER_RESPONSE


def may_wait(watcher: Watcher) -> bool:
    """True if the batch is small enough to be held while other watchers have their turn."""
    return watcher.batch_bytes <= _HELD_BYTES


def flush(watcher: Watcher, header: Callable[[], bytes]) -> bool:
    """Queue the batch; False if the stream has no room. The header speaks of now, not of the batch, as in etcd.

    Without room the batch is given up and read again later: thousands of watchers of one stuck reader must not hold a
    batch each.
    """
    if not watcher.batch:
        return True
    queued = watcher.stream.offer(watcher, header(), watcher.batch)
    if not queued:
        watcher.next = watcher.batch_first
    watcher.batch = []
    watcher.batch_revisions = watcher.batch_bytes = 0
    return queued


def _gather(store: Store, watcher: Watcher, found: Iterable[tuple[int, list[Change]]], end: int, budget: int) -> int:
    """Move (revision, changes) into the batch; `end` is where the watcher is after the last of them."""
    cost = 0
    for main, changes in found:
        cost += 1 + len(changes) + sum([len(record) for _, record, _ in changes]) // _COST_BYTES
        chosen = [
            events.encode(store, main, change, watcher.prev_kv)
            for change in changes
            if watcher.wants(change[0]) and not (watcher.no_delete if change[2] else watcher.no_put)
        ]
        watcher.next = main + 1
        if chosen:
            if not watcher.batch:
                watcher.batch_first = main
            watcher.batch.extend(chosen)
            watcher.batch_revisions += 1
            watcher.batch_bytes += sum(map(len, chosen))
        if is_whole(watcher) or cost >= budget:
            return cost
    watcher.next = end
    return cost


def _history(store: Store, watcher: Watcher, budget: int) -> tuple[list[tuple[int, list[bytes]]], int]:
    """The next revisions of the watcher's keys with their revision keys, and up to where that is all.

    Of each key only so many revisions are looked at that all together stay near the budget. What lies behind the last
    one of a key that may have more is left for the next time: of the other keys more may lie before it.
    """
    index = store.index
    keys = [watcher.start] if watcher.end == b"" else index.known(watcher.start, watcher.end)
    limit = max(_REVISIONS_OF_KEY, budget // max(1, len(keys)))
    end = store.revision + 1
    stored: list[bytes] = []
    for key in keys:
        of_key = index.revisions(key, watcher.next, limit)
        if len(of_key) >= limit:
            end = min(end, main_of(of_key[-1]) + 1)
        stored += of_key
    stored.sort(key=_order)
    bound = revision_key(end, 0)
    return [(main, list(group)) for main, group in groupby(stored[: bisect_left(stored, bound)], main_of)], end


def _order(stored: bytes) -> bytes:
    return stored[:REVISION_KEY_LEN]
