"""A log under test and what it must still say after a crash."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.storage.files import Files
from coord.server.storage.wal import Metadata, Recovered, Wal

WHOSE = Metadata(cluster_id=0xC1, member_id=0x3E)
SEGMENT = 4096
RESERVE = 2048


def entry(index: int, term: int = 1, data: bytes = b"value", kind: int = 0) -> Entry:
    return Entry(term, index, kind, data)


def new_log(files: Files, directory: Path, segment_size: int = SEGMENT) -> Wal:
    return Wal.create(files, directory, WHOSE, segment_size=segment_size, reserve_size=RESERVE)


def open_log(files: Files, directory: Path, segment_size: int = SEGMENT) -> tuple[Wal, Recovered]:
    return Wal.open(files, directory, segment_size=segment_size, reserve_size=RESERVE)


@dataclass
class Model:
    """What the log was told, the simple way."""

    entries: dict[int, Entry] = field(default_factory=dict)
    hard_state: HardState = field(default_factory=HardState)
    mark: SnapshotMark = field(default_factory=lambda: SnapshotMark(0, 0))

    @property
    def last_index(self) -> int:
        return max(self.entries, default=self.mark.index)

    def write(self, hard_state: HardState | None, entries: list[Entry]) -> None:
        if entries:
            first = entries[0].index
            self.entries = {index: old for index, old in self.entries.items() if index < first}
            self.entries |= {new.index: new for new in entries}
        if hard_state is not None:
            self.hard_state = hard_state

    def set_mark(self, mark: SnapshotMark) -> None:
        self.mark = mark
        self.entries = {index: old for index, old in self.entries.items() if index > mark.index}

    def copy(self) -> Model:
        return Model(dict(self.entries), self.hard_state, self.mark)

    def matches(self, recovered: Recovered) -> bool:
        """Entries and mark are these; the hard state may be behind only where nothing was promised (its commit)."""
        return recovered.entries == list(self.entries.values()) and recovered.mark == self.mark

    def matches_all(self, recovered: Recovered) -> bool:
        state = self.hard_state
        state = HardState(max(state.term, self.mark.term), state.vote, max(state.commit, self.mark.index))
        return self.matches(recovered) and recovered.hard_state == state
