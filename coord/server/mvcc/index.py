"""Which revisions each key has: sorted keys over packed revisions. Owns no values and knows no backend.

A live key has an entry, 34 bytes packed: the revision of its record, when its present incarnation was created, and its
version. What came before, deletions included, is the key's past: revisions of 18 bytes in ascending order. Both are
byte strings because the garbage collector does not track those: with tuples or objects, one full collection over a
million keys stops the server for half a second.

Live keys are kept sorted apart from deleted ones. So a range or a count at the newest revision, which is nearly every
one, never walks over tombstones that await compaction.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Final

from sortedcontainers import SortedList

from coord.server.invariant import invariant
from coord.server.mvcc.records import REVISION_KEY_LEN, TOMBSTONE, is_tombstone

PAST_LEN: Final = REVISION_KEY_LEN + 1  # a revision key and "t" for a deletion or a zero byte for a put
_ENTRY: Final = struct.Struct(">QcQcQQ")  # main, "_", sub, zero byte, create revision, version
_pack: Final = _ENTRY.pack
_incarnation: Final = struct.Struct(">QQ").unpack_from
_pack_incarnation: Final = struct.Struct(">QQ").pack
_tombstone: Final = struct.Struct(">QcQc").pack
_main: Final = struct.Struct(">Q").unpack_from


class KeyIndex:
    """Every key with its revisions that compaction has not dropped."""

    def __init__(self) -> None:
        self.live: dict[bytes, bytes] = {}  # key -> entry
        self.keys: SortedList = SortedList()  # exactly the keys of `live`
        self.past: dict[bytes, bytearray] = {}  # never empty; ends with a tombstone exactly if the key is not live
        self._gone: SortedList = SortedList()  # exactly the keys of `past` that are not in `live`

    # --- writes

    def put(self, key: bytes, main: int, sub: int) -> tuple[int, int, bytes]:
        """A put of `key` at (main, sub); returns its create revision, its version and its revision key."""
        old = self.live.get(key)
        if old is None:
            create, version = main, 1
            self.keys.add(key)
            if key in self.past:
                self._gone.remove(key)
        else:
            create, version = _incarnation(old, PAST_LEN)
            version += 1
            past = self.past.get(key)
            if past is None:
                self.past[key] = bytearray(old[:PAST_LEN])
            else:
                past += old[:PAST_LEN]
        entry = self.live[key] = _pack(main, b"_", sub, b"\0", create, version)
        return create, version, entry[:REVISION_KEY_LEN]

    def delete(self, key: bytes, main: int, sub: int) -> bytes:
        """A deletion of the live `key` at (main, sub); returns the revision key of its tombstone."""
        old = self.live.pop(key, None)
        invariant(old is not None, "deleted a key that is not live", key=key)
        assert old is not None
        tombstone = _tombstone(main, b"_", sub, TOMBSTONE)
        past = self.past.get(key)
        if past is None:
            past = self.past[key] = bytearray()
        past += old[:PAST_LEN]
        past += tombstone
        self.keys.remove(key)
        self._gone.add(key)
        return tombstone

    # --- reads

    def find(self, key: bytes, revision: int) -> bytes | None:
        """The revision key of what `key` was at `revision`; None if it did not exist then."""
        entry = self.live.get(key)
        if entry is not None and _main(entry)[0] <= revision:
            return entry[:REVISION_KEY_LEN]
        past = self.past.get(key)
        if past is None:
            return None
        at = _last_up_to(past, revision)
        if at < 0 or past[at + REVISION_KEY_LEN]:
            return None
        return bytes(past[at : at + REVISION_KEY_LEN])

    def incarnation(self, key: bytes) -> tuple[int, int, int]:
        """Create revision, mod revision and version of a live key."""
        entry = self.live[key]
        create, version = _incarnation(entry, PAST_LEN)
        return create, _main(entry)[0], version

    def select(self, start: bytes, end: bytes | None, limit: int | None = None) -> list[bytes]:
        """Live keys with start <= key < end, the first `limit` of them."""
        window: Iterable[bytes] = self.keys.irange(start, end, (True, False))
        return list(window) if limit is None else list(islice(window, limit))

    def count(self, start: bytes, end: bytes | None) -> int:
        """How many live keys `select` would find; O(log n)."""
        stop = len(self.keys) if end is None else self.keys.bisect_left(end)
        return max(0, int(stop - self.keys.bisect_left(start)))

    def known(self, start: bytes, end: bytes | None, limit: int | None = None) -> list[bytes]:
        """Keys of the range that are live or were once, the first `limit` of them: what a read of the past looks at."""
        live = self.select(start, end, limit)
        gone = self._gone.irange(start, end, (True, False)) if self._gone else ()
        live.extend(gone if limit is None else islice(gone, limit))
        live.sort()  # two ascending runs: one merge
        return live if limit is None else live[:limit]

    def known_count(self, start: bytes, end: bytes | None) -> int:
        """How many keys `known` would find."""
        gone = self._gone
        stop = len(gone) if end is None else gone.bisect_left(end)
        return self.count(start, end) + max(0, int(stop - gone.bisect_left(start)))

    def revisions(self, key: bytes, since: int, limit: int) -> list[bytes]:
        """Revision keys of `key` with main >= since, ascending; those of the first `limit` main revisions.

        Those of tombstones carry their mark.
        """
        past = self.past.get(key, b"")
        first = _last_up_to(past, since - 1) + PAST_LEN if past else 0
        found: list[bytes] = []
        newest = -1
        for at in range(first, len(past), PAST_LEN):
            main = _main(past, at)[0]
            if main != newest:
                if not limit:
                    return found
                newest = main
                limit -= 1
            found.append(_stored(past[at : at + PAST_LEN]))
        entry = self.live.get(key)
        if entry is not None and _main(entry)[0] >= since and (limit or _main(entry)[0] == newest):
            found.append(entry[:REVISION_KEY_LEN])
        return found

    # --- compaction

    def scrub(self, key: bytes, revision: int, limit: int | None = None) -> list[bytes]:
        """Drop what no read at or above `revision` can see of `key`, the oldest `limit` of it; returns what is dropped.

        A tombstone at exactly `revision` stays: a watcher may still start there.

        Source: etcd server/storage/mvcc/key_index.go compact, and the fix of etcd issue 18089.
        """
        past = self.past.get(key)
        if past is None:
            return []
        at = _last_up_to(past, revision)
        if at < 0:
            return []
        entry = self.live.get(key)
        live_covers = entry is not None and _main(entry)[0] <= revision
        dead = past[at + REVISION_KEY_LEN] and _main(past, at)[0] < revision
        keep_from = at + PAST_LEN if live_covers or dead else at
        if limit is not None:
            keep_from = min(keep_from, limit * PAST_LEN)
        dropped = [_stored(past[i : i + PAST_LEN]) for i in range(0, keep_from, PAST_LEN)]
        if keep_from == len(past):
            del self.past[key]
            if entry is None:
                self._gone.remove(key)
        elif keep_from:
            del past[:keep_from]
        return dropped

    # --- restore

    def load_put(self, key: bytes, revision_key: bytes, create: int, version: int) -> None:
        """A put found on disk; records come in ascending order, and `loaded` ends them."""
        old = self.live.get(key)
        if old is not None:
            self._remember(key, old[:PAST_LEN])
        self.live[key] = b"%b\0%b" % (revision_key, _pack_incarnation(create, version))

    def load_delete(self, key: bytes, revision_key: bytes) -> None:
        """A tombstone found on disk; its put may have been compacted already."""
        old = self.live.pop(key, None)
        if old is not None:
            self._remember(key, old[:PAST_LEN])
        self._remember(key, revision_key)

    def _remember(self, key: bytes, item: bytes) -> None:
        past = self.past.get(key)
        if past is None:
            self.past[key] = bytearray(item)
        else:
            past += item

    def loaded(self) -> None:
        """All records of the disk were given."""
        self.keys = SortedList(self.live)
        self._gone = SortedList(key for key in self.past if key not in self.live)

    # --- self test

    def check(self) -> None:
        """Every invariant of the fields above.

        Raises:
            InvariantBroken: one does not hold.
        """
        invariant(list(self.keys) == sorted(self.live), "sorted keys differ from live keys")
        gone = sorted(key for key in self.past if key not in self.live)
        invariant(list(self._gone) == gone, "deleted keys differ from keys that have only a past")
        for key, past in self.past.items():
            invariant(past and len(past) % PAST_LEN == 0, "a past of broken length", key=key, length=len(past))
            items = [bytes(past[at : at + PAST_LEN]) for at in range(0, len(past), PAST_LEN)]
            entry = self.live.get(key)
            if entry is not None:
                items.append(entry[:PAST_LEN])
            order = [item[:REVISION_KEY_LEN] for item in items]
            invariant(order == sorted(set(order)), "revisions of a key out of order", key=key)
            invariant(
                all(not (is_tombstone(one) and is_tombstone(two)) for one, two in pairwise(items)),
                "two deletions in a row",
                key=key,
            )
            invariant(is_tombstone(items[-1]) == (entry is None), "a deleted key must end in a tombstone", key=key)
        for key, entry in self.live.items():
            create, mod, version = self.incarnation(key)
            invariant(len(entry) == _ENTRY.size, "an entry of broken length", key=key)
            invariant(create <= mod and version >= 1, "an entry out of range", key=key, create=create, mod=mod)


def _stored(item: bytes | bytearray) -> bytes:
    """A revision of the past as the backend's key."""
    return bytes(item) if item[REVISION_KEY_LEN] else bytes(item[:REVISION_KEY_LEN])


def _last_up_to(past: bytes | bytearray, revision: int) -> int:
    """Where the newest item with main <= revision starts; -PAST_LEN if there is none.

    Items with one main revision are neighbours, so the answer is the last of them.
    """
    low, high = 0, len(past) // PAST_LEN
    while low < high:
        middle = (low + high) // 2
        if _main(past, middle * PAST_LEN)[0] <= revision:
            low = middle + 1
        else:
            high = middle
    return (low - 1) * PAST_LEN
