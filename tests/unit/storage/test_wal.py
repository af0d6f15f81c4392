from __future__ import annotations

import errno
from pathlib import Path

import pytest

from coord.server.consensus import HardState, SnapshotMark
from coord.server.invariant import InvariantBroken
from coord.server.storage.errors import FormatRefused, WalDamaged, WalFailed
from coord.server.storage.faults import FDATASYNC, PREALLOCATE, WRITE, Fault, FaultyFiles
from coord.server.storage.files import RealFiles
from coord.server.storage.lossy import LossyFiles
from coord.server.storage.wal import Wal
from tests.unit.storage.wal_tools import WHOSE, entry, new_log, open_log


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    written = [entry(1, 1, b""), entry(2, 1, b"\0" * 100), entry(3, 2, b"x" * 1000, kind=1)]
    wal.write(Wal.encode(HardState(2, 7, 1), written[:2]))
    wal.write(Wal.encode(HardState(2, 7, 2), written[2:]))
    wal.close()
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == written
    assert recovered.hard_state == HardState(2, 7, 2)
    assert recovered.mark == SnapshotMark(0, 0)
    assert (recovered.metadata.cluster_id, recovered.metadata.member_id) == (WHOSE.cluster_id, WHOSE.member_id)
    assert recovered.torn_bytes == 0
    wal.close()


def test_a_new_log_is_empty_and_exists(tmp_path: Path) -> None:
    assert not Wal.exists(RealFiles(), tmp_path)
    new_log(RealFiles(), tmp_path).close()
    assert Wal.exists(RealFiles(), tmp_path)
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert (recovered.entries, recovered.hard_state, recovered.last_index) == ([], HardState(), 0)
    wal.close()


def test_segments_are_named_as_etcd_names_them(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    for index in range(1, 9):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
    wal.close()
    names = sorted(path.name for path in tmp_path.glob("*.wal"))
    assert names[0] == "0000000000000000-0000000000000001.wal"
    assert names[1] == "0000000000000001-0000000000000004.wal"


def test_entries_at_an_index_already_used_replace_what_follows(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(None, [entry(index) for index in range(1, 6)]))
    wal.write(Wal.encode(None, [entry(3, 2, b"new")]))
    assert wal.last_index == 3
    wal.write(Wal.encode(None, [entry(4, 2, b"newer")]))
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == [entry(1), entry(2), entry(3, 2, b"new"), entry(4, 2, b"newer")]


@pytest.mark.parametrize("indexes", [[2], [1, 3]])
def test_a_gap_is_never_written(tmp_path: Path, indexes: list[int]) -> None:
    wal = new_log(RealFiles(), tmp_path)
    with pytest.raises(InvariantBroken):
        wal.write(Wal.encode(None, [entry(index) for index in indexes]))


def test_recovery_starts_behind_the_newest_mark(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(HardState(1, 1, 0), [entry(index) for index in range(1, 6)]))
    wal.mark(SnapshotMark(2, 1, (1, 2), (3,)))
    wal.mark(SnapshotMark(4, 1, (1,), ()))
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.mark == SnapshotMark(4, 1, (1,), ())
    assert recovered.entries == [entry(5)]
    assert recovered.hard_state == HardState(1, 1, 4), "what a mark stands for was committed"


def test_a_mark_ahead_of_the_log_replaces_it(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(HardState(1, 0, 0), [entry(1), entry(2)]))
    wal.write(Wal.encode(HardState(4, 0, 50), [entry(51, 4)], mark=SnapshotMark(50, 4, (1, 2, 3))))
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == [entry(51, 4)]
    assert recovered.mark.index == 50


def test_a_mark_of_another_term_drops_entries_that_differ_from_it(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(None, [entry(index, 1) for index in range(1, 6)]))
    wal.write(Wal.encode(None, [], mark=SnapshotMark(3, 2)))
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == []


def test_marks_and_what_they_cover_never_go_back(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(None, [entry(index) for index in range(1, 6)]))
    wal.mark(SnapshotMark(4, 1))
    with pytest.raises(InvariantBroken, match="marks go forward"):
        wal.mark(SnapshotMark(3, 1))
    with pytest.raises(InvariantBroken, match="what a mark covers stays"):
        wal.write(Wal.encode(None, [entry(4)]))


def test_purged_segments_are_gone_and_the_rest_is_complete(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    for index in range(1, 41):
        wal.write(Wal.encode(HardState(1, 1, index - 1), [entry(index, data=b"x" * 500)]))
    before = wal.segments
    assert wal.purge(40) == 0, "nothing goes before a mark"
    wal.mark(SnapshotMark(30, 1, (1,)))
    removed = wal.purge(20)
    assert 0 < removed < before
    wal.close()
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert [old.index for old in recovered.entries] == list(range(31, 41))
    assert wal.purge(1000) > 0
    wal.close()
    wal, recovered = open_log(RealFiles(), tmp_path)
    assert [old.index for old in recovered.entries] == list(range(31, 41)), "the mark bounds what may go"
    assert recovered.mark == SnapshotMark(30, 1, (1,))
    wal.close()


def test_mark_and_hard_state_survive_the_purge_of_the_segments_that_held_them(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(HardState(9, 5, 1), [entry(1, 9)]))
    wal.mark(SnapshotMark(1, 9, (5, 6)))
    for index in range(2, 20):
        wal.write(Wal.encode(None, [entry(index, 9, b"x" * 1000)]))
    assert wal.purge(1) == 0, "entry 2 stands in the first segment"
    wal.mark(SnapshotMark(10, 9, (5, 6)))
    assert wal.purge(10) > 0
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.hard_state == HardState(9, 5, 10)
    assert [old.index for old in recovered.entries] == list(range(11, 20))


def test_a_mark_on_the_last_entry_of_a_purged_segment_is_kept(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    for index in range(1, 4):
        wal.write(Wal.encode(None, [entry(index, 9, b"x" * 1000)]))
    wal.mark(SnapshotMark(3, 9, (5, 6)))
    wal.write(Wal.encode(None, [entry(4, 9, b"x" * 1000)]))
    assert wal.purge(3) == 1, "the mark's own record went too"
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert (recovered.mark, recovered.entries) == (SnapshotMark(3, 9, (5, 6)), [entry(4, 9, b"x" * 1000)])


class _Recorder(RealFiles):
    def __init__(self) -> None:
        self.done: list[str] = []

    def unlink(self, path: Path) -> None:
        self.done.append("unlink")
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self.done.append("sync")
        super().sync_directory(path)


def test_purging_never_leaves_a_hole_between_segments(tmp_path: Path) -> None:
    files = _Recorder()
    wal = new_log(files, tmp_path)
    for index in range(1, 21):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
    wal.mark(SnapshotMark(20, 1))
    files.done.clear()
    removed = wal.purge(20)
    assert removed > 2
    assert files.done == ["unlink", "sync"] * removed
    wal.close()


def test_a_batch_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    big = [entry(1), entry(2, data=b"y" * 20000), entry(3)]
    for one in big:
        wal.write(Wal.encode(None, [one]))
    wal.close()
    _, recovered = open_log(RealFiles(), tmp_path)
    assert recovered.entries == big


def test_a_large_batch_takes_its_space_before_it_is_written(tmp_path: Path) -> None:
    wal = new_log(FaultyFiles(RealFiles(), Fault(PREALLOCATE, 4, errno.ENOSPC, lasting=True)), tmp_path)
    with pytest.raises(WalFailed, match="No space left"):
        wal.write(Wal.encode(None, [entry(1, data=b"y" * 20000)]))


def test_a_commit_that_moved_waits_for_the_next_write(tmp_path: Path) -> None:
    files = LossyFiles()
    wal = new_log(files, tmp_path)
    wal.write(Wal.encode(HardState(1, 1, 0), [entry(1), entry(2)]))
    wal.write(Wal.encode(HardState(1, 1, 1), []))
    wal.write(Wal.encode(HardState(1, 1, 2), []))
    assert files.unsynced() == 0, "nothing was written for it"
    wal.write(Wal.encode(None, [entry(3)]))
    _, recovered = open_log(files.crash(), tmp_path)
    assert recovered.hard_state == HardState(1, 1, 2)


def test_a_held_hard_state_is_written_at_close(tmp_path: Path) -> None:
    wal = new_log(RealFiles(), tmp_path)
    wal.write(Wal.encode(HardState(1, 1, 0), [entry(1)]))
    wal.write(Wal.encode(HardState(1, 1, 1), []))
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].hard_state == HardState(1, 1, 1)


def test_a_vote_is_durable_when_its_write_returns(tmp_path: Path) -> None:
    files = LossyFiles()
    wal = new_log(files, tmp_path)
    wal.write(Wal.encode(HardState(3, 2, 0), [], must_sync=True))
    assert open_log(files.crash(), tmp_path)[1].hard_state == HardState(3, 2, 0)


def test_a_changed_term_or_vote_is_synced_even_if_nobody_asked(tmp_path: Path) -> None:
    files = LossyFiles()
    wal = new_log(files, tmp_path)
    wal.write(Wal.encode(HardState(3, 2, 0), []))
    assert open_log(files.crash(), tmp_path)[1].hard_state == HardState(3, 2, 0)


@pytest.mark.parametrize("call", [FDATASYNC, WRITE])
def test_after_a_failed_write_the_log_does_nothing_ever_again(tmp_path: Path, call: str) -> None:
    wal = new_log(FaultyFiles(RealFiles(), Fault(call, 3, errno.EIO)), tmp_path)
    wal.write(Wal.encode(None, [entry(1)]))
    with pytest.raises(WalFailed, match="Input/output error"):
        wal.write(Wal.encode(None, [entry(2)]))
    for again in (
        lambda: wal.write(Wal.encode(None, [entry(2)])),
        lambda: wal.write(Wal.encode(HardState(1, 1, 1), [])),
        lambda: wal.mark(SnapshotMark(1, 1)),
        lambda: wal.purge(1),
        wal.upkeep,
    ):
        with pytest.raises(WalFailed, match="Input/output error"):
            again()
    wal.close()
    # The files answer again, so it is the log that refuses; entry 2 may or may not be there, entry 1 must.
    assert open_log(RealFiles(), tmp_path)[1].entries[:1] == [entry(1)]


def test_a_failed_cut_poisons_too(tmp_path: Path) -> None:
    wal = new_log(FaultyFiles(RealFiles(), Fault(FDATASYNC, 3, errno.EIO)), tmp_path)
    wal.write(Wal.encode(None, [entry(1, data=b"x" * 3000)]))
    with pytest.raises(WalFailed):
        wal.write(Wal.encode(None, [entry(2, data=b"x" * 3000)]))
    with pytest.raises(WalFailed):
        wal.write(Wal.encode(None, [entry(2)]))


def test_lack_of_space_is_told_before_a_write_fails_and_the_alarm_still_fits(tmp_path: Path) -> None:
    # Preallocations of a new log: its first segment, the reserve, the next segment; what follows fails.
    fault = Fault(PREALLOCATE, 4, errno.ENOSPC, lasting=True)
    wal = new_log(FaultyFiles(RealFiles(), fault), tmp_path)
    index = 1
    while not wal.low_space:
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
        if wal.needs_upkeep:
            wal.upkeep()
        index += 1
    assert index > 3, "there was space at first"
    for _ in range(8):  # the alarm and what was proposed before anybody knew
        wal.write(Wal.encode(None, [entry(index, data=b"alarm" * 20)]))
        index += 1
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].last_index == index - 1


def test_the_reserve_carries_the_alarm_when_the_segment_is_full(tmp_path: Path) -> None:
    wal = new_log(FaultyFiles(RealFiles(), Fault(PREALLOCATE, 3, errno.ENOSPC, lasting=True)), tmp_path)
    assert wal.low_space, "the next segment could not be taken"
    for index in range(1, 4):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
    wal.write(Wal.encode(None, [entry(4, data=b"alarm" * 150)]))
    assert wal.segments == 2
    with pytest.raises(WalFailed, match="reserve is used up"):
        wal.write(Wal.encode(None, [entry(5, data=b"x" * 2000)]))
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].last_index == 4


def test_low_space_is_told_by_the_cut_that_found_none(tmp_path: Path) -> None:
    wal = new_log(FaultyFiles(RealFiles(), Fault(PREALLOCATE, 4, errno.ENOSPC, lasting=True)), tmp_path)
    told = []
    for index in range(1, 8):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
        told.append(wal.low_space)
    assert told == [False] * 6 + [True], "the seventh went into the reserve"
    wal.close()


def test_space_that_came_back_ends_low_space(tmp_path: Path) -> None:
    fault = Fault(PREALLOCATE, 2, errno.ENOSPC, lasting=True)
    wal = new_log(FaultyFiles(RealFiles(), fault), tmp_path)
    told = [(wal.low_space, wal.needs_upkeep)]
    wal.upkeep()
    told.append((wal.low_space, wal.needs_upkeep))
    fault.lift()
    wal.upkeep()
    told.append((wal.low_space, wal.needs_upkeep))
    assert told == [(True, True), (True, True), (False, False)]


def test_another_failure_while_taking_space_ends_the_log(tmp_path: Path) -> None:
    with pytest.raises(WalFailed):
        new_log(FaultyFiles(RealFiles(), Fault(PREALLOCATE, 2, errno.EIO)), tmp_path)


def test_preallocated_files_of_an_earlier_process_are_no_segments(tmp_path: Path) -> None:
    new_log(RealFiles(), tmp_path).close()
    assert (tmp_path / "next.tmp").exists()
    (tmp_path / "next.tmp").write_bytes(b"half a beginning")
    wal, _ = open_log(RealFiles(), tmp_path)
    for index in range(1, 9):
        wal.write(Wal.encode(None, [entry(index, data=b"x" * 1000)]))
    wal.close()
    assert open_log(RealFiles(), tmp_path)[1].last_index == 8


@pytest.mark.parametrize(("version", "what"), [(2, "newer version"), (0, "unknown version")])
def test_another_format_is_refused_by_its_number(tmp_path: Path, version: int, what: str) -> None:
    new_log(RealFiles(), tmp_path).close()
    path = next(tmp_path.glob("*.wal"))
    data = bytearray(path.read_bytes())
    data[3] = version
    path.write_bytes(data)
    with pytest.raises(FormatRefused, match=f"format {version} was written by an? {what}"):
        open_log(RealFiles(), tmp_path)


def test_a_directory_without_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WalDamaged, match="no segment"):
        open_log(RealFiles(), tmp_path)


def test_a_log_is_made_once(tmp_path: Path) -> None:
    new_log(RealFiles(), tmp_path).close()
    with pytest.raises(InvariantBroken):
        new_log(RealFiles(), tmp_path)
