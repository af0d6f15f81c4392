"""Typed records of the log and the frames that carry them.

A frame is what one write made durable: it is recovered whole or not at all. Its body is a run of records and ends in
padding that is never zero, so that a frame cut short by a crash cannot look complete. The frame's CRC continues the
CRC of the frame before it, into the next segment too, so that no frame can be lost from the middle unnoticed.

::

    frame   magic 3, version 1, body length 4, offset 8, segment 4, crc of the frame before 4, crc 4, header check 4
    record  kind 1, detail 1, reserved 2, payload length 4, payload
            metadata     format 2, reserved 2, salt 4, cluster id 8, member id 8      first record of a segment
            entry        term 8, index 8, data                                        detail: the entry's kind
            hard state   term 8, vote 8, commit 8
            mark         index 8, term 8, voters 4, learners 4, ids 8 each

All little-endian. A header knows its own offset and segment and is checked with a salt drawn when the log was made, so
that a reader behind a damaged place can tell a later frame from bytes that merely look like one. Owns the layout; knows
nothing of files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.invariant import invariant

FORMAT = 1
MAGIC = b"cwl"
VERSIONED_MAGIC = MAGIC + bytes([FORMAT])
PADDING = b"\xa5" * 8

_HEADER = struct.Struct("<4sIQIIII")
HEADER_SIZE = _HEADER.size
_CHECKED = HEADER_SIZE - 4
LENGTH_MAX = 1 << 31

_RECORD = struct.Struct("<BBHI")
_METADATA = struct.Struct("<BBHIHHIQQ")
_ENTRY = struct.Struct("<BBHIQQ")
_HARD_STATE = struct.Struct("<BBHIQQQ")
_MARK = struct.Struct("<BBHIQQII")

KIND_METADATA = 1
KIND_ENTRY = 2
KIND_HARD_STATE = 3
KIND_MARK = 4

_ENTRY_FIXED = _ENTRY.size - _RECORD.size


@dataclass(frozen=True, slots=True)
class Metadata:
    """Whose log this is; constant for its life."""

    cluster_id: int
    member_id: int
    format: int = FORMAT
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A verified frame header."""

    offset: int
    length: int
    previous: int
    crc: int

    @property
    def body(self) -> int:
        return self.offset + HEADER_SIZE

    @property
    def end(self) -> int:
        return self.offset + HEADER_SIZE + self.length


Record = Metadata | Entry | HardState | SnapshotMark


class BadRecord(Exception):
    """A record inside a frame whose CRC is right makes no sense."""


def frame_size(body_length: int) -> int:
    """Bytes a frame with `body_length` bytes of records takes."""
    return HEADER_SIZE + body_length + _padding(body_length)


def _padding(body_length: int) -> int:
    return 8 - body_length % 8  # 1..8: there is always some


def build_frame(
    records: Sequence[bytes], offset: int, segment: int, previous: int, salt: int
) -> tuple[list[bytes], int]:
    """The buffers of one frame and its CRC, which the next frame continues."""
    length = sum(map(len, records))
    body = b"".join([*records, PADDING[: _padding(length)]])
    invariant(len(body) < LENGTH_MAX, "a frame's length fits its header", length=len(body))
    crc = zlib.crc32(body, previous)
    header = _HEADER.pack(VERSIONED_MAGIC, len(body), offset, segment, previous, crc, 0)[:_CHECKED]
    return [header + zlib.crc32(header, salt).to_bytes(4, "little"), body], crc


def parse_header(data: bytes, position: int, segment: int, salt: int) -> Frame | None:
    """The header at `position`, or None if none of this log stands there."""
    if position + HEADER_SIZE > len(data):
        return None
    magic, length, offset, number, previous, crc, check = _HEADER.unpack_from(data, position)
    if magic != VERSIONED_MAGIC or offset != position or number != segment:
        return None
    if check != zlib.crc32(data[position : position + _CHECKED], salt):
        return None
    return Frame(position, length, previous, crc)


def intact_facts(data: bytes, position: int, segment: int, previous: int) -> int:
    """How many of the four facts that can be foretold of a header at `position` stand there."""
    if position + HEADER_SIZE > len(data):
        return 0
    magic, _, offset, number, before, _, _ = _HEADER.unpack_from(data, position)
    return sum((magic == VERSIONED_MAGIC, offset == position, number == segment, before == previous))


def body_is_intact(data: bytes, frame: Frame) -> bool:
    """The body is there and its CRC continues the frame before."""
    return frame.end <= len(data) and zlib.crc32(memoryview(data)[frame.body : frame.end], frame.previous) == frame.crc


def first_frame(data: bytes, segment: int) -> tuple[Frame, Metadata] | None:
    """The frame a segment opens with, which is the only one checked without the salt that stands in it."""
    frame = parse_header(data, 0, segment, 0)
    if frame is None or not body_is_intact(data, frame):
        return None
    record = next(read_records(data, frame), None)
    return (frame, record) if isinstance(record, Metadata) else None


def encode_metadata(metadata: Metadata) -> bytes:
    """The record of `metadata`."""
    payload = _METADATA.size - _RECORD.size
    return _METADATA.pack(
        KIND_METADATA, 0, 0, payload, metadata.format, 0, metadata.salt, metadata.cluster_id, metadata.member_id
    )


def encode_hard_state(state: HardState) -> bytes:
    """The record of `state`."""
    return _HARD_STATE.pack(
        KIND_HARD_STATE, 0, 0, _HARD_STATE.size - _RECORD.size, state.term, state.vote, state.commit
    )


def encode_mark(mark: SnapshotMark) -> bytes:
    """The record of `mark`."""
    ids = (*mark.voters, *mark.learners)
    payload = _MARK.size - _RECORD.size + 8 * len(ids)
    fixed = _MARK.pack(KIND_MARK, 0, 0, payload, mark.index, mark.term, len(mark.voters), len(mark.learners))
    return fixed + struct.pack(f"<{len(ids)}Q", *ids)


def encode_entries(entries: Sequence[Entry], into: list[bytes]) -> None:
    """Append the records of `entries` to `into`."""
    pack = _ENTRY.pack
    for entry in entries:
        data = entry.data
        into.append(pack(KIND_ENTRY, entry.kind, 0, _ENTRY_FIXED + len(data), entry.term, entry.index))
        if data:
            into.append(data)


def read_records(data: bytes, frame: Frame) -> Iterator[Record]:
    """The records of an intact frame.

    Raises:
        BadRecord: a record is cut off or of a kind this version does not know.
    """
    position = frame.body
    while data[position] != PADDING[0]:  # there is always some, and no kind has its value
        if position + _RECORD.size > frame.end:
            raise BadRecord("a record's head reaches over the end of its frame")
        kind, detail, _, length = _RECORD.unpack_from(data, position)
        start, position = position + _RECORD.size, position + _RECORD.size + length
        if position >= frame.end:
            raise BadRecord(f"a record of {length} bytes reaches over the end of its frame")
        yield _decode(data, kind, detail, start, position)


def _decode(data: bytes, kind: int, detail: int, start: int, end: int) -> Record:
    head = start - _RECORD.size
    try:
        if kind == KIND_ENTRY:
            _, _, _, _, term, index = _ENTRY.unpack_from(data, head)
            return Entry(term, index, detail, data[start + _ENTRY_FIXED : end])
        if kind == KIND_HARD_STATE:
            return HardState(*_HARD_STATE.unpack_from(data, head)[4:])
        if kind == KIND_MARK:
            _, _, _, _, index, term, voters, learners = _MARK.unpack_from(data, head)
            ids = struct.unpack_from(f"<{voters + learners}Q", data, head + _MARK.size)
            return SnapshotMark(index, term, ids[:voters], ids[voters:])
        if kind == KIND_METADATA:
            _, _, _, _, version, _, salt, cluster, member = _METADATA.unpack_from(data, head)
            return Metadata(cluster, member, version, salt)
    except struct.error as error:
        raise BadRecord(f"a record of kind {kind} is too short: {error}") from error
    raise BadRecord(f"no record is of kind {kind}")
