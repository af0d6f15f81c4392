"""Every crash is repaired, everything else refused, and nothing acknowledged is ever missing from what is accepted."""

from __future__ import annotations

import dataclasses
import errno
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.storage.errors import FormatRefused, WalDamaged, WalFailed
from coord.server.storage.faults import FDATASYNC, Fault, FaultyFiles
from coord.server.storage.files import SECTOR, RealFiles
from coord.server.storage.lossy import LossyFiles, sectors
from coord.server.storage.wal import Wal
from tests.unit.storage.wal_tools import Model, entry, new_log, open_log


def _grow(wal: Wal, count: int, size: int, seed: int) -> list[Entry]:
    source = random.Random(seed)
    written = []
    for index in range(1, count + 1):
        # No zeros: a single flipped bit must never look like a sector that was not written.
        data = bytes(source.choices(range(1, 256), k=size))
        written.append(entry(index, 1, data))
        wal.write(Wal.encode(HardState(1, 1, index - 1), written[-1:]))
    return written


@pytest.mark.parametrize("earlier", [1, 440, 470, 1001])
def test_a_write_cut_anywhere_is_there_whole_or_not_at_all(tmp_path: Path, earlier: int) -> None:
    """`earlier` moves the frame over the sector boundaries, its header too."""
    directory = tmp_path / "log"
    kept: set[int] = set()
    size = 0
    cut = 0
    while cut <= size:
        directory.mkdir()
        lossy = LossyFiles()
        fault = Fault(FDATASYNC, 0, errno.EIO)
        wal = new_log(FaultyFiles(lossy, fault), directory)
        acknowledged = _grow(wal, 1, earlier, seed=1)
        fault._number = fault._seen + 1
        with pytest.raises(WalFailed):
            wal.write(Wal.encode(HardState(1, 1, 1), [entry(2, 1, b"a" * 900), entry(3, 1, b"b" * 200)]))
        size = lossy.unsynced()
        after = lossy.crash(keep=cut)
        wal, recovered = open_log(after, directory)
        assert recovered.entries[:1] == acknowledged
        assert after.unsynced() == 0, "a repair that is not synced could be mixed up with the next write"
        assert len(recovered.entries) in (1, 3)
        assert (recovered.torn_bytes > 0) == (cut > 0 and len(recovered.entries) == 1)
        kept.add(len(recovered.entries))
        _goes_on(wal, directory, recovered.entries)
        _remove(directory)
        cut += 1 if cut < 40 or size - cut < 40 else 31
    assert kept == {1, 3}, "the cut after the last byte keeps the write"


def _goes_on(wal: Wal, directory: Path, before: list[Entry]) -> None:
    more = entry(before[-1].index + 1, 2, b"more")
    wal.write(Wal.encode(None, [more]))
    wal.close()
    wal, recovered = open_log(LossyFiles(), directory)
    assert recovered.entries == [*before, more]
    assert recovered.torn_bytes == 0
    wal.close()


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.mark.parametrize("seed", range(60))
def test_sectors_that_arrive_in_any_order_are_a_torn_tail(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    wal = new_log(RealFiles(), tmp_path, segment_size=1 << 16)
    acknowledged = _grow(wal, source.randrange(1, 4), source.randrange(1, 700), seed)
    path = next(tmp_path.glob("*.wal"))
    before = path.read_bytes()
    wal.write(Wal.encode(None, [entry(len(acknowledged) + 1, 1, source.randbytes(source.randrange(1, 5000)))]))
    after = path.read_bytes()
    wal.close()
    mixed = bytearray(before)
    start = len(before.rstrip(b"\0")) // SECTOR * SECTOR
    for at, piece in sectors(start, after[start:]):
        if source.random() < 0.5:
            mixed[at : at + len(piece)] = piece
    path.write_bytes(mixed)
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries[: len(acknowledged)] == acknowledged
    if mixed != after:
        assert recovered.entries == acknowledged


def test_no_flipped_bit_is_ever_accepted_with_a_loss(tmp_path: Path) -> None:
    """Also in the last write: it is complete, so no crash explains the checksum."""
    wal = new_log(RealFiles(), tmp_path, segment_size=2048)
    written = _grow(wal, 7, 300, seed=3)
    wal.close()
    paths = sorted(tmp_path.glob("*.wal"))
    assert len(paths) == 2
    refused = 0
    for path in paths:
        whole = path.read_bytes()
        end = len(whole.rstrip(b"\0"))
        for position in [*range(end), *range(end + 1, len(whole), 97)]:
            spoilt = bytearray(whole)
            spoilt[position] ^= 1 << (position % 8)
            path.write_bytes(spoilt)
            try:
                found = open_log(RealFiles(), tmp_path, segment_size=2048)[1].entries
            except (WalDamaged, FormatRefused):
                refused += 1
            else:
                assert found == written, f"bit flipped at {position} of {path.name}"
            path.write_bytes(whole)
    assert refused > 2000


def test_damage_is_named_with_file_offset_and_what_to_do(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path, segment_size=1 << 16)
    _grow(wal, 5, 300, seed=3)
    wal.close()
    path = next(tmp_path.glob("*.wal"))
    spoilt = bytearray(path.read_bytes())
    spoilt[700] ^= 255
    path.write_bytes(spoilt)
    with pytest.raises(WalDamaged, match="restore from a snapshot or replace this member") as caught:
        open_log(RealFiles(), tmp_path)
    assert caught.value.path == path
    assert 0 < caught.value.offset <= 700
    assert path.read_bytes() == spoilt, "a refused log is left as it is"


@pytest.mark.parametrize("sector", range(1, 4))
def test_a_sector_lost_before_later_writes_is_damage(tmp_path: Path, sector: int) -> None:
    """The same zeros that are a torn tail at the end are refused where a later write proves they were synced."""
    wal = new_log(RealFiles(), tmp_path, segment_size=1 << 16)
    _grow(wal, 8, 300, seed=3)
    wal.close()
    path = next(tmp_path.glob("*.wal"))
    spoilt = bytearray(path.read_bytes())
    spoilt[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
    path.write_bytes(spoilt)
    with pytest.raises(WalDamaged, match="later ones were written"):
        open_log(RealFiles(), tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    _grow(wal, 30, 500, seed=1)
    wal.close()
    paths = sorted(tmp_path.glob("*.wal"))
    for gone, why in ((paths[1], "before this file is missing"), (paths[0], "entries 1 to")):
        whole = gone.read_bytes()
        gone.unlink()
        with pytest.raises(WalDamaged, match=why):
            open_log(RealFiles(), tmp_path)
        gone.write_bytes(whole)
    assert open_log(RealFiles(), tmp_path)[1].last_index == 30


def test_a_segment_of_another_log_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        wal = new_log(RealFiles(), tmp_path / name)
        _grow(wal, 12, 500, seed=1)
        wal.close()
    foreign = sorted((tmp_path / "two").glob("*.wal"))[1]
    foreign.replace(tmp_path / "one" / foreign.name)
    with pytest.raises(WalDamaged, match="another log"):
        open_log(RealFiles(), tmp_path / "one")


def test_an_older_copy_of_the_last_segment_but_one_is_refused(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    _grow(wal, 2, 500, seed=1)
    path = next(tmp_path.glob("*.wal"))
    older = path.read_bytes()
    for index in range(3, 12):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 500)]))
    wal.close()
    path.write_bytes(older)
    with pytest.raises(WalDamaged, match="does not continue"):
        open_log(RealFiles(), tmp_path)


def test_a_torn_looking_end_before_a_later_segment_is_damage(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    _grow(wal, 9, 1000, seed=1)
    wal.close()
    path = min(tmp_path.glob("*.wal"))
    data = path.read_bytes()
    end = len(data.rstrip(b"\0")) // SECTOR * SECTOR
    path.write_bytes(data[: end - SECTOR] + bytes(SECTOR) + data[end:])
    with pytest.raises(WalDamaged, match="a later segment exists"):
        open_log(RealFiles(), tmp_path)


def test_frames_of_two_histories_of_one_log_are_refused(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    _grow(wal, 1, 100, seed=1)
    wal.close()
    path = next(tmp_path.glob("*.wal"))
    common = path.read_bytes()
    histories = []
    for name in (b"one", b"two"):
        path.write_bytes(common)
        wal, _ = open_log(RealFiles(), tmp_path)
        wal.write(Wal.encode(None, [entry(2, data=name)]))
        middle = wal._current().position
        wal.write(Wal.encode(None, [entry(3, data=name)]))
        wal.close()
        histories.append(path.read_bytes())
    path.write_bytes(histories[0][:middle] + histories[1][middle:])
    with pytest.raises(WalDamaged, match="does not continue the one before"):
        open_log(RealFiles(), tmp_path)


@pytest.mark.parametrize("garbage", [b"\x01", b"garbage", b"\xff" * 31, b"cwl", b"\xff" * 600])
def test_garbage_behind_the_last_write_is_removed(tmp_path: Path, garbage: bytes) -> None:
    wal = new_log(RealFiles(), tmp_path)
    written = _grow(wal, 2, 300, seed=1)
    wal.close()
    path = next(tmp_path.glob("*.wal"))
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    path.write_bytes(data[:end] + garbage + data[end + len(garbage) :])
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == written
    assert recovered.torn_bytes == len(garbage)
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].torn_bytes == 0


def test_a_file_cut_short_loses_its_last_write_only(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    written = _grow(wal, 3, 300, seed=1)
    wal.close()
    path = next(tmp_path.glob("*.wal"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data.rstrip(b"\0")) - 5])
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == written[:2]
    wal.write(Wal.encode(None, written[2:]))
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].entries == written


def test_a_log_that_ends_before_its_commit_is_refused(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(HardState(1, 1, 7), [entry(1)]))
    wal.close()
    with pytest.raises(WalDamaged, match="committed and the log ends before"):
        open_log(RealFiles(), tmp_path)


@pytest.mark.parametrize(("skip", "lost"), [("wal-fdatasync", True), ("dir-fsync", True), (None, False)])
def test_leaving_out_a_sync_loses_acknowledged_writes_in_the_test_mode(
    tmp_path: Path, skip: str | None, lost: bool
) -> None:
    files = LossyFiles(skip=[skip] if skip else [])
    wal = new_log(files, tmp_path)
    wal.write(Wal.encode(None, [entry(1)]))
    after = files.crash()
    try:
        found = open_log(after, tmp_path)[1].entries
    except WalDamaged:
        found = []
    assert (found == []) == lost


steps = st.lists(
    st.tuples(
        st.sampled_from(["append"] * 6 + ["overwrite", "commit", "vote", "mark", "purge", "upkeep", "reopen", "crash"]),
        st.integers(0, 1 << 30),
    ),
    min_size=1,
    max_size=40,
)


class _Run:
    """A log and its model through random steps; after each crash the log says what the model did, or one write more."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        # Either sectors in any order or a cut within one; no disk does both to one write.
        self.seed = seed if seed % 2 else None
        self.files = LossyFiles(torn_seed=self.seed)
        self.wal = new_log(self.files, directory, 2048)
        self.model = Model()
        self.term = 1

    def step(self, verb: str, number: int) -> None:
        getattr(self, verb)(random.Random(number))

    def _entries(self, first: int, source: random.Random) -> list[Entry]:
        sizes = [source.choice([0, 10, 200, 900]) for _ in range(source.randrange(1, 5))]
        return [entry(first + place, self.term, source.randbytes(size)) for place, size in enumerate(sizes)]

    def _write(self, wal: Wal, model: Model, source: random.Random, back: int = 0) -> None:
        first = max(model.last_index + 1 - back, model.mark.index + 1, model.hard_state.commit + 1)
        entries = self._entries(first, source)
        state = HardState(self.term, 1, model.hard_state.commit)
        model.write(state, entries)
        wal.write(Wal.encode(state, entries))

    def append(self, source: random.Random) -> None:
        self._write(self.wal, self.model, source)

    def overwrite(self, source: random.Random) -> None:
        self.term += 1
        self._write(self.wal, self.model, source, back=source.randrange(1, 6))

    def commit(self, source: random.Random) -> None:
        commit = source.randint(self.model.hard_state.commit, max(self.model.hard_state.commit, self.model.last_index))
        state = dataclasses.replace(self.model.hard_state, commit=commit)
        self.model.hard_state = state
        self.wal.write(Wal.encode(state, []))

    def vote(self, source: random.Random) -> None:
        self.term += 1
        state = HardState(self.term, source.randrange(4), self.model.hard_state.commit)
        self.model.hard_state = state
        self.wal.write(Wal.encode(state, [], must_sync=True))

    def mark(self, source: random.Random) -> None:
        index = source.randint(self.model.mark.index, max(self.model.mark.index, self.model.hard_state.commit))
        if index in self.model.entries:
            mark = SnapshotMark(index, self.model.entries[index].term, (1, 2), (source.randrange(9),))
            self.model.set_mark(mark)
            self.wal.mark(mark)

    def purge(self, source: random.Random) -> None:
        self.wal.purge(source.randint(0, self.model.mark.index + 5))

    def upkeep(self, source: random.Random) -> None:
        self.wal.upkeep()

    def reopen(self, source: random.Random) -> None:
        self.wal.close()
        self._recover(LossyFiles(torn_seed=self.seed), [self.model])

    def crash(self, source: random.Random) -> None:
        """In the middle of a write, or between two."""
        allowed = [self.model]
        if source.random() < 0.7:
            attempted = self.model.copy()
            # The same state behind other files: only the sync of this one write never happens.
            fault = Fault(FDATASYNC, 1, errno.EIO)
            self.wal._file = FaultyFiles(self.files, fault).open(
                self.wal._segments[-1].path, self.wal._current().position
            )
            try:
                self._write(self.wal, attempted, source)
            except WalFailed:
                allowed.append(attempted)
            else:
                allowed = [attempted]  # it went to a new segment, past the fault
        keep = source.randrange(3000) if self.seed is None else 0
        self.files.crash(keep)
        self._recover(LossyFiles(torn_seed=self.seed), allowed)

    def _recover(self, files: LossyFiles, allowed: list[Model]) -> None:
        self.files = files
        self.wal, recovered = open_log(files, self.directory, 2048)
        matching = [model for model in allowed if model.matches(recovered)]
        assert matching, (recovered, allowed)
        self.model = matching[-1]
        # A commit that nobody waited for may be forgotten; term and vote may not.
        promised, found = self.model.hard_state, recovered.hard_state
        assert found.commit <= max(promised.commit, self.model.mark.index)
        assert found.term >= promised.term
        self.model.hard_state = found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, seed=st.integers(0, 1 << 16))
def test_whatever_happens_all_synced_writes_are_recovered(steps: list[tuple[str, int]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = _Run(Path(name), seed)
        for verb, number in steps:
            run.step(verb, number)
        run.crash(random.Random(seed))
        run.reopen(random.Random(0))
        assert run.model.matches_all(open_log(LossyFiles(), Path(name), 2048)[1])
