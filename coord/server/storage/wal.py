"""The write-ahead log: what a member promised to remember.

`encode` runs on the server's loop; everything else on one worker thread, a call at a time. A write that returned is on
the disk. The first failed one poisons the log: every later call raises the same error, because nothing can be said any
more about what the disk holds.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.invariant import InvariantBroken, invariant
from coord.server.storage.errors import WalFailed
from coord.server.storage.files import Files, OpenFile
from coord.server.storage.records import (
    Metadata,
    build_frame,
    encode_entries,
    encode_hard_state,
    encode_mark,
    encode_metadata,
    frame_size,
)
from coord.server.storage.recovery import LogReader, Recovered, Tail
from coord.server.storage.segments import Segment, Space, list_segments, segment_path

__all__ = ["Metadata", "Recovered", "Wal", "WriteBatch"]

SEGMENT_SIZE = 64 << 20
RESERVE_SIZE = 1 << 20


@dataclass(slots=True)
class WriteBatch:
    """Encoded records that become durable together."""

    records: list[bytes]
    hard_state: HardState | None
    mark: SnapshotMark | None
    first_index: int  # 0 without entries
    last_index: int
    must_sync: bool


class Wal:
    """An append-only log in segments.

    Attributes:
        metadata: whose log it is.
    """

    def __init__(self, files: Files, directory: Path, metadata: Metadata, space: Space) -> None:
        """Not for callers: use `create` or `open`."""
        self.metadata = metadata
        self._files = files
        self._directory = directory
        self._space = space
        self._segments: list[Segment] = []
        self._file: OpenFile | None = None
        self._capacity = 0  # bytes taken for the current segment
        self._chain = 0  # crc of the last frame
        self._hard_state = HardState()
        self._mark = SnapshotMark(0, 0)
        self._last_index = 0
        self._held: list[bytes] = []  # records nobody waits for; they go with the next write
        self._failure: str | None = None

    @classmethod
    def exists(cls, files: Files, directory: Path) -> bool:
        """Whether `directory` holds a log."""
        return bool(list_segments(files, directory))

    @classmethod
    def create(
        cls,
        files: Files,
        directory: Path,
        metadata: Metadata,
        *,
        segment_size: int = SEGMENT_SIZE,
        reserve_size: int = RESERVE_SIZE,
    ) -> Wal:
        """A new log in `directory`, whose own entry in its parent the caller makes durable.

        Raises:
            WalFailed: the disk refused.
        """
        invariant(not cls.exists(files, directory), "a log is made once", directory=str(directory))
        salted = dataclasses.replace(metadata, salt=int.from_bytes(os.urandom(4), "little"))
        wal = cls(files, directory, salted, Space(files, directory, segment_size, reserve_size))
        try:
            wal._space.clear()
            wal._cut(0, 1)
            wal._space.refill()
        except OSError as error:
            raise wal._fail("making the log", error) from error
        return wal

    @classmethod
    def open(
        cls, files: Files, directory: Path, *, segment_size: int = SEGMENT_SIZE, reserve_size: int = RESERVE_SIZE
    ) -> tuple[Wal, Recovered]:
        """The log in `directory` and what it says; an unfinished last write is removed.

        Raises:
            WalDamaged: it holds something that no crash explains.
            FormatRefused: another version wrote it.
            WalFailed: the disk refused.
        """
        segments = list_segments(files, directory)
        recovered, tail = LogReader(files).read(segments)
        wal = cls(files, directory, recovered.metadata, Space(files, directory, segment_size, reserve_size))
        wal._segments = segments
        wal._hard_state, wal._mark, wal._last_index = recovered.hard_state, recovered.mark, recovered.last_index
        try:
            wal._continue(tail)
            wal._space.clear()
            wal._space.refill()
        except OSError as error:
            raise wal._fail("opening the log", error) from error
        return wal, recovered

    @property
    def low_space(self) -> bool:
        """The next segment could not be taken ahead: refuse new writes; the alarm still fits. `upkeep` clears it."""
        return self._space.low

    @property
    def needs_upkeep(self) -> bool:
        return not self._space.complete

    @property
    def last_index(self) -> int:
        """Index of the newest entry that is durable."""
        return self._last_index

    @property
    def segments(self) -> int:
        return len(self._segments)

    @staticmethod
    def encode(
        hard_state: HardState | None,
        entries: Sequence[Entry],
        must_sync: bool | None = None,
        mark: SnapshotMark | None = None,
    ) -> WriteBatch:
        """The bytes of one round; a mark given here stands before its entries and becomes durable with them.

        Without entries, mark and `must_sync` (a commit that moved) the batch waits for the next write.
        """
        records: list[bytes] = []
        first = last = 0
        if mark is not None:
            records.append(encode_mark(mark))
        if entries:
            first, last = entries[0].index, entries[-1].index
            invariant(last - first == len(entries) - 1, "entries have no gaps", first=first, last=last)
            encode_entries(entries, records)
        if hard_state is not None:
            records.append(encode_hard_state(hard_state))
        if not must_sync:
            must_sync = bool(entries) or mark is not None
        return WriteBatch(records, hard_state, mark, first, last, must_sync)

    def write(self, batch: WriteBatch) -> None:
        """Make `batch` durable; entries replace those from its first index on.

        Raises:
            WalFailed: it may or may not be durable, and this process must end.
        """
        self._check_alive()
        if not batch.must_sync and not self._promises(batch.hard_state):
            if batch.hard_state is not None:
                self._held, self._hard_state = batch.records, batch.hard_state
            return
        mark, last = self._check_order(batch)
        self._append(self._held + batch.records if self._held else batch.records, batch.first_index)
        self._held = []
        self._mark, self._last_index = mark, last
        if batch.hard_state is not None:
            self._hard_state = batch.hard_state

    def mark(self, mark: SnapshotMark) -> None:
        """Note that the backend holds, synced, all effects up to `mark`; recovery starts behind the newest mark.

        Raises:
            WalFailed: as for `write`.
        """
        self.write(self.encode(None, (), mark=mark))

    def purge(self, up_to_index: int) -> int:
        """Remove segments that hold nothing behind `up_to_index` or the newest mark; returns how many.

        Raises:
            WalFailed: the disk refused.
        """
        self._check_alive()
        bound = min(up_to_index, self._mark.index)
        removed = 0
        try:
            while len(self._segments) > 1 and self._segments[1].first_index <= bound + 1:
                self._files.unlink(self._segments[0].path)
                # One at a time, oldest first: a crash must not leave a hole between the segments.
                self._files.sync_directory(self._directory)
                del self._segments[0]
                removed += 1
        except OSError as error:
            raise self._fail("removing an old segment", error) from error
        return removed

    def upkeep(self) -> None:
        """Take the space for the next segment; call it between writes while `needs_upkeep`.

        Raises:
            WalFailed: the disk refused for another reason than lack of space.
        """
        self._check_alive()
        try:
            self._space.refill()
        except OSError as error:
            raise self._fail("taking space ahead", error) from error

    def close(self) -> None:
        """Write what waits and let go of the files.

        Raises:
            WalFailed: what waits could not be written.
        """
        try:
            if self._held and self._failure is None and self._file is not None:
                self._append(self._held, 0)
                self._held = []
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._space.close()

    def _promises(self, state: HardState | None) -> bool:
        """Whether `state` holds a new term or vote: a member that forgets those may vote twice."""
        before = self._hard_state
        return state is not None and (state.term, state.vote) != (before.term, before.vote)

    def _check_order(self, batch: WriteBatch) -> tuple[SnapshotMark, int]:
        """The mark and last index after `batch`, which must continue what is there."""
        mark, last = batch.mark or self._mark, self._last_index
        invariant(mark.index >= self._mark.index, "marks go forward", mark=mark.index, before=self._mark.index)
        last = max(last, mark.index)
        if batch.first_index:
            invariant(batch.first_index <= last + 1, "entries follow the log", first=batch.first_index, last=last)
            invariant(batch.first_index > mark.index, "what a mark covers stays", first=batch.first_index)
            last = batch.last_index
        return mark, last

    def _append(self, records: list[bytes], first_index: int) -> None:
        need = frame_size(sum(map(len, records)))
        try:
            file = self._current()
            if file.position + need > self._capacity:
                file = self._cut(need, first_index or self._last_index + 1)
            sequence = self._segments[-1].sequence
            buffers, chain = build_frame(records, file.position, sequence, self._chain, self.metadata.salt)
            file.write(buffers)
            file.sync()
        except OSError as error:
            raise self._fail("writing the log", error) from error
        self._chain = chain

    def _cut(self, need: int, first_index: int) -> OpenFile:
        """Begin a segment that has room for a frame of `need` bytes.

        It opens with all that reading must know if everything before it is purged, and it gets its name only when
        that is synced: a named segment always has a valid beginning.
        """
        sequence = self._segments[-1].sequence + 1 if self._segments else 0
        opening = [encode_metadata(self.metadata), encode_hard_state(self._hard_state), encode_mark(self._mark)]
        taken = self._space.take(need + frame_size(sum(map(len, opening))))
        buffers, chain = build_frame(opening, 0, sequence, self._chain, 0)
        taken.file.write(buffers)
        taken.file.sync()
        path = segment_path(self._directory, sequence, first_index)
        self._files.rename(taken.path, path)
        self._files.sync_directory(self._directory)
        if self._file is not None:
            self._file.close()
        self._file, self._capacity, self._chain = taken.file, taken.size, chain
        self._segments.append(Segment(sequence, first_index, path))
        return taken.file

    def _continue(self, tail: Tail) -> None:
        path = self._segments[-1].path
        if tail.torn:
            # Zeros rather than a shorter file: on a full disk the blocks could not be had again.
            torn = self._files.open(path, tail.position)
            torn.write([bytes(tail.torn)])
            torn.sync()
            torn.close()
        self._file = self._files.open(path, tail.position)
        self._capacity, self._chain = tail.size, tail.chain

    def _current(self) -> OpenFile:
        if self._file is None:
            raise InvariantBroken(f"the log in {self._directory} is used after it was closed")
        return self._file

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise WalFailed(self._failure)

    def _fail(self, doing: str, error: OSError) -> WalFailed:
        self._failure = f"{doing} in {self._directory} failed: {error}. Nothing that waits is acknowledged."
        return WalFailed(self._failure)
