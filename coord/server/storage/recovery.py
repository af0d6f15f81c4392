"""Reading a log back after a crash.

A write is one frame, and the next one starts only after the last was synced. So a crash can spoil the last frame and
nothing else, and of that frame only sectors that are still as they were: zero behind the point of the last sync. What
is spoilt in another way was spoilt by something else, and acknowledged writes may be gone: refused, never repaired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.storage.errors import FormatRefused, WalDamaged
from coord.server.storage.files import SECTOR, Files
from coord.server.storage.records import (
    FORMAT,
    HEADER_SIZE,
    MAGIC,
    VERSIONED_MAGIC,
    BadRecord,
    Frame,
    Metadata,
    body_is_intact,
    first_frame,
    intact_facts,
    parse_header,
    read_records,
)
from coord.server.storage.segments import Segment


@dataclass(slots=True)
class Recovered:
    """What a log held.

    Attributes:
        metadata: whose log it is.
        hard_state: the last one; its commit is at least the mark's index.
        mark: the newest snapshot mark; index 0 if there is none.
        entries: those behind the mark, without gaps.
        torn_bytes: length of the unfinished write that was removed from the end.
    """

    metadata: Metadata
    hard_state: HardState = field(default_factory=HardState)
    mark: SnapshotMark = field(default_factory=lambda: SnapshotMark(0, 0))
    entries: list[Entry] = field(default_factory=list)
    torn_bytes: int = 0

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.mark.index


@dataclass(slots=True)
class Tail:
    """Where writing goes on in the last segment."""

    size: int = 0  # bytes the file holds, preallocated ones included
    position: int = 0
    chain: int = 0  # crc of the last frame
    torn: int = 0  # bytes behind `position` that must become zeros again


class LogReader:
    """Reads the segments in order and keeps what the log says at its end."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._path = Path()
        self._offset = 0
        self._metadata: Metadata | None = None
        self._hard_state = HardState()
        self._mark = SnapshotMark(0, 0)
        self._entries: list[Entry] = []
        self._tail = Tail()

    def read(self, segments: list[Segment]) -> tuple[Recovered, Tail]:
        """All of the log.

        Raises:
            WalDamaged: something is spoilt that a crash does not explain, or missing.
            FormatRefused: another version wrote it.
        """
        for number, segment in enumerate(segments):
            self._path, self._offset = segment.path, 0
            if number and segment.sequence != segments[number - 1].sequence + 1:
                raise self._damaged(f"segment {segment.sequence - 1:016x} before this file is missing")
            self._read_segment(segment, first=number == 0, last=number == len(segments) - 1)
        return self._finish(), self._tail

    def _read_segment(self, segment: Segment, first: bool, last: bool) -> None:
        data = self._files.read(segment.path)
        opening, metadata = self._open(data, segment)
        if self._metadata is not None and metadata != self._metadata:
            raise self._damaged("this file belongs to another log")
        self._metadata = metadata
        if not first and opening.previous != self._tail.chain:
            raise self._damaged("this file does not continue the one before it")
        self._tail = Tail(size=len(data))
        frame: Frame | None = opening
        while frame is not None:
            self._take(data, frame)
            frame = self._next_frame(data, segment, metadata.salt)
        self._settle_end(data, segment, metadata.salt, last)

    def _open(self, data: bytes, segment: Segment) -> tuple[Frame, Metadata]:
        version = data[len(MAGIC)] if data.startswith(MAGIC) and len(data) > len(MAGIC) else FORMAT
        if version != FORMAT:
            age = "a newer version of coord; run that version" if version > FORMAT else "an unknown version of coord"
            raise FormatRefused(f"{segment.path}: log format {version} was written by {age} (this one reads {FORMAT})")
        opened = first_frame(data, segment.sequence)
        if opened is None:
            # A segment gets its name only after its first frame was synced, so no crash leaves it without.
            raise self._damaged("the segment does not begin with its metadata")
        return opened

    def _take(self, data: bytes, frame: Frame) -> None:
        self._offset = frame.offset
        try:
            for record in read_records(data, frame):
                self._take_record(record)
        except BadRecord as error:
            raise self._damaged(str(error)) from error
        self._tail.position, self._tail.chain = frame.end, frame.crc

    def _take_record(self, record: object) -> None:
        if isinstance(record, Entry):
            self._take_entry(record)
        elif isinstance(record, HardState):
            self._hard_state = record
        elif isinstance(record, SnapshotMark):
            self._take_mark(record)

    def _take_entry(self, entry: Entry) -> None:
        entries = self._entries
        if entries:
            keep = entry.index - entries[0].index
            if keep > len(entries):
                raise self._damaged(f"entry {entry.index} follows entry {entries[-1].index}")
            del entries[max(keep, 0) :]  # a new leader's entries replace those that were never committed
        entries.append(entry)

    def _take_mark(self, mark: SnapshotMark) -> None:
        if mark.index < self._mark.index:
            return
        self._mark = mark
        entries = self._entries
        behind = mark.index + 1 - entries[0].index if entries else 0
        if 0 < behind <= len(entries) and entries[behind - 1].term == mark.term:
            del entries[:behind]
        elif behind > 0:
            entries.clear()  # the state came from a leader whose log differs from here on

    def _next_frame(self, data: bytes, segment: Segment, salt: int) -> Frame | None:
        frame = parse_header(data, self._tail.position, segment.sequence, salt)
        if frame is None or not body_is_intact(data, frame):
            return None
        if frame.previous != self._tail.chain:
            self._offset = frame.offset
            raise self._damaged("a frame does not continue the one before it")
        return frame

    def _settle_end(self, data: bytes, segment: Segment, salt: int, last: bool) -> None:
        """Decide what the bytes behind the last intact frame are: nothing, an unfinished write, or damage."""
        position = self._offset = self._tail.position
        rest = len(data[position:].rstrip(b"\0"))
        if rest == 0:
            return
        if not last:
            raise self._damaged("a frame is damaged and a later segment exists")
        if _later_frame(data, position, segment.sequence, salt):
            raise self._damaged("a frame is damaged and later ones were written after it was synced")
        if not _torn(data, position, segment.sequence, salt, self._tail.chain):
            raise self._damaged("the last frame is complete but its checksum is wrong")
        self._tail.torn = rest

    def _finish(self) -> Recovered:
        mark, state = self._mark, self._hard_state
        if self._entries and self._entries[0].index <= mark.index:
            del self._entries[: mark.index + 1 - self._entries[0].index]
        if self._entries and self._entries[0].index != mark.index + 1:
            raise self._damaged(f"entries {mark.index + 1} to {self._entries[0].index - 1} are missing")
        if self._metadata is None:
            raise self._damaged("there is no segment")
        if state.commit > (self._entries[-1].index if self._entries else mark.index):
            raise self._damaged(f"entries up to {state.commit} were committed and the log ends before")
        # What a mark stands for was applied, so it was committed, whether or not the hard state was written since.
        state = HardState(max(state.term, mark.term), state.vote, max(state.commit, mark.index))
        return Recovered(self._metadata, state, mark, self._entries, self._tail.torn)

    def _damaged(self, why: str) -> WalDamaged:
        return WalDamaged(self._path, self._offset, why)


def _later_frame(data: bytes, position: int, segment: int, salt: int) -> bool:
    found = data.find(VERSIONED_MAGIC, position + 1)
    while found >= 0:
        if parse_header(data, found, segment, salt) is not None:
            return True
        found = data.find(VERSIONED_MAGIC, found + 1)
    return False


def _torn(data: bytes, position: int, segment: int, salt: int, chain: int) -> bool:
    """Whether the bytes at `position` can be what a crash left of one write."""
    frame = parse_header(data, position, segment, salt)
    if frame is not None:
        return frame.end > len(data) or data[frame.end - 1] == 0 or _has_lost_sector(data, position, frame.end)
    header_end = position + HEADER_SIZE
    if _has_lost_sector(data, position, min(header_end, len(data))) or not data[header_end:].strip(b"\0"):
        return True
    # A body follows a header that is neither whole nor lost: was it a header of ours?
    return intact_facts(data, position, segment, chain) < 2


def _has_lost_sector(data: bytes, start: int, end: int) -> bool:
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if not data[start:stop].strip(b"\0"):
            return True
        start = stop
    return False
