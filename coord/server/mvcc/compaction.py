"""The physical side of compaction: drops what no read can see any more, a slice at a time.

The mark comes first and through the log; dropping is each member's own affair, may lag, and goes on after a restart. It
walks the keys that have a past: a store where keys are written once costs nothing.

Source: etcd server/storage/mvcc/kvstore_compaction.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coord.server.mvcc.store import Store

BATCH: Final = 1000
"""Records dropped, or keys looked at, in one step."""


def pending(store: Store) -> bool:
    """True if a compaction is marked whose data is not all dropped."""
    return store.scrubbed < store.compacted


WAITING: Final = True
"""Yielded instead of False by a step that could do nothing: going on at once would only take time from readers."""


def steps(store: Store) -> Iterator[bool]:
    """Drop everything below the compact mark, yielding between batches; a mark set meanwhile is taken up as well.

    May be given up and begun anew at any step.
    """
    while pending(store):
        target = store.compacted
        # Reads in slices that began before the mark still need what it covers. They end by themselves.
        while store.is_pinned_below(target):
            yield WAITING
        yield from _scrub(store, target)
        store.mark_scrubbed(target)


def _scrub(store: Store, target: int) -> Iterator[bool]:
    for looked_at, key in enumerate(list(store.index.past), 1):
        more = True
        while more:  # a counter may have a million revisions
            more = store.scrub(key, target, BATCH)
            while store.doomed >= BATCH:
                store.drop(BATCH)
                yield not WAITING
        if not looked_at % BATCH:
            yield not WAITING
    while store.drop(BATCH):
        yield not WAITING
