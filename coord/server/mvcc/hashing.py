"""HashKV: one number that members with the same data agree on, whatever each has physically dropped.

CRC-32C over "key" and then every revision key and record in order, of what a compaction would leave of the store.

Source: etcd server/storage/mvcc/hash.go.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from functools import cache
from heapq import merge
from importlib import import_module
from itertools import islice
from typing import Final

from coord.server.mvcc.records import main_of
from coord.server.mvcc.store import Store

SLICE: Final = 1000
"""Keys looked at in one step."""
SLICE_BYTES: Final = 1 << 14
"""Bytes hashed in one step; about 1 ms in plain Python."""
_POLYNOMIAL: Final = 0x82F63B78


@cache
def _tables() -> tuple[list[int], list[int]]:
    """What one byte, and what two bytes at once, do to a checksum; made when first needed, it takes 20 ms."""
    one = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        one.append(value)
    two = []
    for pair in range(1 << 16):
        half = pair >> 8 ^ one[pair & 0xFF]
        two.append(half >> 8 ^ one[half & 0xFF])
    return one, two


def crc32c(crc: int, data: bytes) -> int:
    """Extend a CRC-32C in plain Python, two bytes at a time."""
    one, two = _tables()
    crc ^= 0xFFFFFFFF
    for pair in struct.unpack_from(f"<{len(data) // 2}H", data):
        crc = crc >> 16 ^ two[(crc ^ pair) & 0xFFFF]
    if len(data) % 2:
        crc = crc >> 8 ^ one[(crc ^ data[-1]) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _fastest() -> Callable[[int, bytes], int]:
    try:
        module = import_module("google_crc32c")  # an optional dependency: a gigabyte a second
    except ImportError:
        return crc32c
    extend: Callable[[int, bytes], int] = module.extend
    return extend


_extend: Final = _fastest()


def steps(store: Store, revision: int) -> Generator[None, None, int]:
    """The hash at a readable `revision`, of nothing for a negative one; yields between slices of a few milliseconds."""
    crc = _extend(0, b"key")
    compacted = store.compacted
    # Pinned at the mark and not at `revision`: what lies between them is hashed too, and a compaction must not take it.
    with store.pinned(max(compacted, 0)):
        runs = yield from _kept(store, compacted, revision)
        hashed = 0
        for stored, record in _content(store, merge(*runs), compacted, revision):
            crc = _extend(crc, stored)
            # A single value may be large, and plain Python takes its time for each byte.
            for at in range(0, len(record), SLICE_BYTES):
                part = record[at : at + SLICE_BYTES]
                crc = _extend(crc, part)
                hashed += len(part)
                if hashed >= SLICE_BYTES:
                    hashed = 0
                    yield
    return crc


def _content(store: Store, kept: Iterator[bytes], compacted: int, revision: int) -> Iterator[tuple[bytes, bytes]]:
    """Revision keys and records in order: what is left up to the compact mark, then everything up to the revision."""
    while part := list(islice(kept, 100)):
        yield from zip(part, store.fetch_many(part), strict=True)
    for main in range(max(compacted, 0) + 1, revision + 1):
        for stored, record, _ in store.log(main):
            yield stored, record


def _kept(store: Store, compacted: int, revision: int) -> Generator[None, None, list[list[bytes]]]:
    """Revision keys up to the compact mark that a compaction at `revision` would keep too, in sorted runs.

    So members agree whether or not they have dropped the others yet. A tombstone is never kept. If nothing at all lives
    at `revision`, etcd skips nothing: then it is what the last compaction kept.
    """
    if min(compacted, revision) <= 0:
        return []
    any_lives = False
    runs: list[list[bytes]] = []
    for found in _alive(store, revision):
        any_lives = any_lives or bool(found)
        runs.append(sorted(stored for stored in found if main_of(stored) <= compacted))
        yield
    if not any_lives:
        for found in _alive(store, compacted):
            runs.append(sorted(found))
            yield
    return runs


def _alive(store: Store, revision: int) -> Iterator[list[bytes]]:
    """The revision keys of what exists at `revision`, a slice of keys at a time."""
    cursor = b""
    while keys := store.index.known(cursor, None, SLICE):
        cursor = keys[-1] + b"\0"
        yield [stored for key in keys if (stored := store.index.find(key, revision)) is not None]
