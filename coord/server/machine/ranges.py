"""Range requests: which records they select, and the reply joined from stored bytes.

Small reads are answered at once; `steps` answers any read in slices of a few milliseconds at one pinned revision, so
that a range over a million keys does not stop the server.

Source: etcd server/etcdserver/txn/range.go.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final, TypeAlias

from coord.server.mvcc.records import (
    REVISION_KEY_LEN,
    decode_record,
    incarnation_of,
    main_of,
    record_value,
    varint,
    without_value,
)
from coord.server.mvcc.store import Store
from coord.wire import rpc_pb2 as pb

SLICE: Final = 1000
"""Keys looked at in one step; about 2 ms."""

SLICE_BYTES: Final = 2 << 20
"""Bytes of records fetched in one step; about as long."""

_FEW: Final = 4
"""Records that may be fetched without knowing their size."""

OPEN_END: Final = b"\x00"
Range = pb.RangeRequest
Steps: TypeAlias = Generator[None, None, bytes]
Fields: TypeAlias = Generator[None, None, list[bytes]]
Where: TypeAlias = tuple[bytes, bytes | None, int, Callable[[bytes, bytes | None, int], list[bytes]]]
"""Start, end and revision of a read, and what lists the keys that may have existed then."""


def bounds(key: bytes, range_end: bytes) -> tuple[bytes, bytes | None]:
    """A request's key range as [start, end); None is no upper bound."""
    if not range_end:
        return key, key + b"\0"
    return key, None if range_end == OPEN_END else range_end


def reply(store: Store, request: pb.RangeRequest, header: bytes) -> bytes:
    """The encoded response to a read that was validated and whose revision was checked, all at once.

    `header` is the encoded header field; empty inside of transactions, which have headers of their own.
    """
    if request.revision <= 0 and not request.range_end:
        return header + _one(store, request)
    if _reads_now(store, request) and _ordered_by_key(request) and not _filtered(request) and not request.count_only:
        return _plain(store, request, header)
    work = steps(store, request, header, undisturbed=True)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return bytes(done.value)


def is_large(store: Store, request: pb.RangeRequest) -> bool:
    """True if the read should be taken in steps; O(log n)."""
    if not request.range_end:
        return False
    start, end = bounds(request.key, request.range_end)
    if _reads_now(store, request):
        if request.count_only:
            return False
        count = store.index.count(start, end)
        if request.limit > 0 and _ordered_by_key(request) and not _filtered(request):
            count = min(count, request.limit)
        return count > SLICE or (count > _FEW and _is_heavy(store, start, end, count))
    return store.index.known_count(start, end) > SLICE


def _is_heavy(store: Store, start: bytes, end: bytes | None, count: int) -> bool:
    """True if the records of `count` keys are many bytes, by the first of them: those of one range are much alike."""
    return count * sum(map(len, store.get_many(store.index.select(start, end, 1)))) > SLICE_BYTES


def steps(store: Store, request: pb.RangeRequest, header: bytes, *, undisturbed: bool = False) -> Steps:
    """The reply, in slices: a generator that yields between them and returns it.

    Writes between the slices do not show, and compaction waits: the revision is pinned while the generator is open.
    `undisturbed` promises that there are none.
    """
    start, end = bounds(request.key, request.range_end)
    revision = request.revision if request.revision > 0 else store.seen_revision
    # Without writes in between, what was deleted cannot have existed now. The queue of a lock is read so, in the order
    # of its create revisions, and every release leaves a deleted key behind until the next compaction.
    known = store.index.select if undisturbed and _reads_now(store, request) else store.index.known
    with store.pinned(revision):
        count = store.index.count(start, end) if _reads_now(store, request) else None
        if request.count_only:
            if count is None:
                count = 0
                for found in _walk(store, (start, end, revision, known), SLICE):
                    count += len(found)
                    yield
            return header + _counted(count)
        limit = max(request.limit, 0)
        if _ordered_by_key(request) and not _filtered(request):
            fields = yield from _in_key_order(store, request, (start, end, revision, known), count, limit)
        else:
            fields = yield from _selected(store, request, (start, end, revision, known), limit)
        return b"".join([header, *fields])


def _one(store: Store, request: pb.RangeRequest) -> bytes:
    """The newest record of a single key, which is what most reads ask for."""
    if request.count_only:
        return _counted(int(request.key in store.index.live))
    record = store.get(request.key)
    if record is None:
        return b""
    if _filtered(request) and not _filter(request)(*_revisions(record)):
        return b"\x20\x01"
    if request.keys_only:
        record = without_value(record)
    return b"\x12%b%b\x20\x01" % (varint(len(record)), record)


def _plain(store: Store, request: pb.RangeRequest, header: bytes) -> bytes:
    """The newest records of a range in key order: no walk over the past, no check of every key."""
    start, end = bounds(request.key, request.range_end)
    limit = request.limit
    keys = store.index.select(start, end, limit if limit > 0 else None)
    count = len(keys) if len(keys) != limit else store.index.count(start, end)
    live = store.index.live
    kvs = _fields(store.fetch_many([live[key][:REVISION_KEY_LEN] for key in keys]), request.keys_only)
    return b"".join([header, kvs, _rest(len(keys) < count, count)])


def _reads_now(store: Store, request: pb.RangeRequest) -> bool:
    return request.revision <= 0 or request.revision == store.seen_revision


def _ordered_by_key(request: pb.RangeRequest) -> bool:
    return request.sort_target == Range.KEY and request.sort_order != Range.DESCEND


def _filtered(request: pb.RangeRequest) -> bool:
    return bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _filter(request: pb.RangeRequest) -> Callable[[int, int], bool]:
    """Whether (create, mod) passes the four bounds; a bound of 0 is none, negative ones compare as numbers."""
    min_mod, max_mod = request.min_mod_revision, request.max_mod_revision
    min_create, max_create = request.min_create_revision, request.max_create_revision

    def passes(create: int, mod: int) -> bool:
        return not (
            (min_mod and mod < min_mod)
            or (max_mod and mod > max_mod)
            or (min_create and create < min_create)
            or (max_create and create > max_create)
        )

    return passes


def _revisions(record: bytes) -> tuple[int, int]:
    decoded = decode_record(record)
    return decoded.create, decoded.mod


# --- the walk


def _walk(store: Store, where: Where, first: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """(key, revision key) of what existed at `revision`, in key order, a slice of keys at a time.

    Each slice starts after the last key of the one before, so it may be taken while others write in between.
    """
    cursor, end, revision, known = where
    size = first
    while True:
        keys = known(cursor, end, size)
        find = store.index.find
        yield [(key, stored) for key in keys if (stored := find(key, revision)) is not None]
        if len(keys) < size:
            return
        cursor, size = keys[-1] + b"\0", SLICE


def _in_key_order(store: Store, request: pb.RangeRequest, where: Where, count: int | None, limit: int) -> Fields:
    """Records in key order, cut at `limit` while walking; past it only a read of the past walks on, to count."""
    out: list[bytes] = []
    taken = seen = 0
    for found in _walk(store, where, min(limit + 1, SLICE) if limit else SLICE):
        seen += len(found)
        wanted = [stored for _, stored in (found[: limit - taken] if limit else found)]
        taken += len(wanted)
        yield from _fetch_steps(store, wanted, request.keys_only, out)
        if count is not None and taken == (min(limit, count) if limit else count):
            break
        yield
    total = seen if count is None else count
    out.append(_rest(taken < total, total))
    return out


def _selected(store: Store, request: pb.RangeRequest, where: Where, limit: int) -> Fields:
    """Records that are filtered, or in an order of their own: sorted runs of one slice each, merged at the end."""
    # With no explicit order etcd fetches limit + 1 keys in key order and sorts only those; clients can see that.
    cut = limit + 1 if limit and request.sort_order == Range.NONE and not _filtered(request) else 0
    descending = request.sort_order == Range.DESCEND
    order = _order(request.sort_target)
    passes = _filter(request) if _filtered(request) else None
    runs: list[list[tuple[Any, bytes]]] = []
    seen = kept = 0
    for found in _walk(store, where, SLICE):
        seen += len(found)
        run = _run(store, found[: cut - kept] if cut else found, passes, order)
        kept += len(run)
        run.sort(key=_rank, reverse=descending)
        runs.append(run)
        yield
    ordered = merge(*runs, key=_rank, reverse=descending)
    left = min(limit, kept) if limit else kept
    out: list[bytes] = []
    while left:
        batch = [stored for _, stored in islice(ordered, min(SLICE, left))]
        left -= len(batch)
        yield from _fetch_steps(store, batch, request.keys_only, out)
    out.append(_rest(bool(limit) and kept > limit, seen))
    return out


def _rank(item: tuple[Any, bytes]) -> Any:
    return item[0]


Order: TypeAlias = Callable[[bytes, int, int, int, bytes], Any]


def _order(target: int) -> Order | None:
    """From (key, create, mod, version, revision key) to what a target sorts by; None if that needs the value."""
    match target:
        case Range.VERSION:
            return lambda key, create, mod, version, stored: version
        case Range.CREATE:
            return lambda key, create, mod, version, stored: create
        case Range.MOD:
            return lambda key, create, mod, version, stored: mod
        case Range.VALUE:
            return None
        case _:
            return lambda key, create, mod, version, stored: key


def _run(
    store: Store,
    found: list[tuple[bytes, bytes]],
    passes: Callable[[int, int], bool] | None,
    order: Order | None,
) -> list[tuple[Any, bytes]]:
    """(sort value, revision key) of what passes; records are read only where the index does not know."""
    live = store.index.live
    run: list[tuple[Any, bytes]] = []
    for key, stored in found:
        entry = live.get(key)
        if entry is not None and entry[:REVISION_KEY_LEN] == stored:
            create, mod, version = store.index.incarnation(key)
        else:
            _, create, version, _ = incarnation_of(store.fetch(stored))
            mod = main_of(stored)
        if passes is None or passes(create, mod):
            value = record_value(store.fetch(stored)) if order is None else order(key, create, mod, version, stored)
            run.append((value, stored))
    return run


# --- the reply


def _fetch_steps(store: Store, stored: list[bytes], keys_only: bool, out: list[bytes]) -> Generator[None, None, None]:
    """Add the records to the reply's fields, so many in a step as the sizes of those before suggest."""
    at, size = 0, _FEW
    while at < len(stored):
        records = store.fetch_many(stored[at : at + size])
        out.append(_fields(records, keys_only))
        at += size
        size = max(1, min(SLICE, size * SLICE_BYTES // sum(map(len, records))))
        yield


def _fields(records: list[bytes], keys_only: bool) -> bytes:
    """The records as fields of the reply; joined for each slice, so that the end has few pieces left to join."""
    if keys_only:
        records = [without_value(record) for record in records]
    return b"".join([b"\x12%b%b" % (varint(len(record)), record) for record in records])


def _rest(more: bool, count: int) -> bytes:
    return (b"\x18\x01" if more else b"") + _counted(count)


def _counted(count: int) -> bytes:
    return b"\x20" + varint(count) if count else b""
