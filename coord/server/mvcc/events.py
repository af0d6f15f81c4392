"""Events for watchers, encoded from stored records: each form of each at most once for a revision.

Source: etcd server/etcdserver/api/v3rpc/watch.go (sendLoop).
"""

from __future__ import annotations

from coord.server.mvcc.records import created_by, encode_event
from coord.server.mvcc.store import Change, Store
from coord.server.mvcc.streams import Watcher


class Events:
    """The events of one revision, for all watchers that want them."""

    def __init__(self, store: Store, revision: int, changes: list[Change]) -> None:
        self._store = store
        self._revision = revision
        self._changes = changes
        self._plain: dict[int, bytes] = {}
        self._with_previous: dict[int, bytes] = {}

    def chosen(self, watcher: Watcher, places: list[int]) -> list[bytes]:
        """What `watcher` gets of the changes at `places`."""
        chosen = []
        cache = self._with_previous if watcher.prev_kv else self._plain
        for at in places:
            if watcher.no_delete if self._changes[at][2] else watcher.no_put:
                continue
            event = cache.get(at)
            if event is None:
                event = cache[at] = encode(self._store, self._revision, self._changes[at], watcher.prev_kv)
            chosen.append(event)
        return chosen


def encode(store: Store, revision: int, change: Change, with_previous: bool) -> bytes:
    """One event; a creation has no previous value, nor has a change whose predecessor is compacted."""
    key, record, deleted = change
    previous = None
    if with_previous and (deleted or not created_by(record)):
        previous = store.get_at(key, revision - 1)
    return encode_event(record, revision, deleted, previous)
