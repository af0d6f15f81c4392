from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.storage.backend import FlushJob, LmdbBackend
from coord.server.storage.contract import Backend, Bucket
from coord.server.storage.errors import BackendFailed, BackendFull, FormatRefused
from coord.server.storage.faults import DATABASE, Fault, FaultyFiles
from coord.server.storage.files import RealFiles
from coord.server.storage.lossy import LossyFiles
from coord.server.storage.reader import CHUNK, FORMAT_KEY

KEY, LEASE, META = Bucket.KEY, Bucket.LEASE, Bucket.META


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LmdbBackend]:
    backend = LmdbBackend.open(RealFiles(), tmp_path, map_size=1 << 26)
    yield backend
    backend.close()


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _fill(backend: Backend, numbers: range, index: int) -> None:
    for number in numbers:
        backend.put(KEY, _key(number), b"v%d" % number)
    backend.seal(index, 1)


def test_reads_see_writes_at_once(backend: LmdbBackend) -> None:
    backend.put(KEY, b"a", b"1")
    assert backend.get(KEY, b"a") == b"1"
    backend.put(KEY, b"a", b"2")
    backend.delete(KEY, b"b")
    assert (backend.get(KEY, b"a"), backend.get(KEY, b"b"), backend.get(LEASE, b"a")) == (b"2", None, None)
    backend.delete(KEY, b"a")
    assert backend.get(KEY, b"a") is None
    assert list(backend.scan(KEY)) == []
    backend.put(KEY, b"a", b"")
    assert backend.get(KEY, b"a") == b"", "an empty value is a value"
    assert list(backend.scan(KEY)) == [(b"a", b"")]


def test_every_layer_hides_the_ones_below(backend: LmdbBackend) -> None:
    def write(index: int, value: bytes) -> None:
        for name in (b"a", b"b", b"c", b"d"):
            backend.put(KEY, name, value)
        backend.seal(index, 1)

    write(1, b"stored")
    backend.flush()
    write(2, b"frozen")
    job = backend.begin_flush()
    assert job is not None
    backend.delete(KEY, b"d")
    backend.seal(3, 1)
    assert backend.get(KEY, b"d") is None
    write(4, b"sealed")
    backend.put(KEY, b"a", b"fresh")
    backend.delete(KEY, b"b")
    assert [backend.get(KEY, name) for name in (b"a", b"b", b"c")] == [b"fresh", None, b"sealed"]
    assert list(backend.scan(KEY)) == [(b"a", b"fresh"), (b"c", b"sealed"), (b"d", b"sealed")]
    assert backend.get_many(KEY, [b"c", b"a"]) == [b"sealed", b"fresh"]
    job.run()
    assert backend.get(KEY, b"a") == b"fresh"
    backend.finish_flush(job)


def test_a_flush_makes_everything_sealed_durable_with_its_position(tmp_path: Path) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path)
    assert backend.applied == (0, 0)
    backend.put(KEY, b"k", b"v")
    backend.put(LEASE, b"l", b"5")
    backend.put(Bucket.AUTH_USERS, b"u", b"root")
    backend.seal(7, 3)
    backend.flush()
    assert (backend.applied, backend.durable_applied) == ((7, 3), (7, 3))
    backend.close()
    backend = LmdbBackend.open(RealFiles(), tmp_path)
    assert (backend.applied, backend.durable_applied) == ((7, 3), (7, 3))
    assert (backend.get(KEY, b"k"), backend.get(LEASE, b"l"), backend.get(Bucket.AUTH_USERS, b"u")) == (
        b"v",
        b"5",
        b"root",
    )
    backend.close()


def test_a_position_without_effects_is_flushed_too(backend: LmdbBackend) -> None:
    backend.seal(4, 1)
    backend.flush()
    assert backend.durable_applied == (4, 1)
    assert backend.begin_flush() is None


def test_rule_a_no_read_falls_between_the_commit_and_the_renewal(backend: LmdbBackend) -> None:
    backend.put(KEY, b"k", b"v")
    backend.seal(1, 1)
    job = backend.begin_flush()
    assert job is not None
    assert backend.get(KEY, b"k") == b"v", "frozen"
    job.run()
    assert backend.get(KEY, b"k") == b"v", "committed, not reported: the loop still reads the old transaction"
    assert backend.durable_applied == (0, 0), "not before it was reported"
    backend.finish_flush(job)
    assert backend.get(KEY, b"k") == b"v", "from the renewed transaction"
    assert backend.durable_applied == (1, 1)
    assert backend.pending_bytes == 0, "and the overlay let go of it"


def test_rule_a_a_flush_that_did_not_succeed_is_never_finished(backend: LmdbBackend) -> None:
    backend.put(KEY, b"k", b"v")
    backend.seal(1, 1)
    job = backend.begin_flush()
    assert job is not None
    with pytest.raises(InvariantBroken, match="after it succeeded"):
        backend.finish_flush(job)
    job.run()
    backend.finish_flush(job)


def test_rule_b_a_flush_never_carries_part_of_an_entry(tmp_path: Path) -> None:
    files = LossyFiles()
    backend = LmdbBackend.open(files, tmp_path)
    backend.put(KEY, b"whole", b"1")
    backend.delete(KEY, b"gone")
    backend.seal(1, 1)
    backend.put(KEY, b"part", b"2")
    backend.put(KEY, b"whole", b"changed by the part")
    backend.put(KEY, b"gone", b"back by the part")
    backend.flush()
    assert backend.get(KEY, b"whole") == b"changed by the part"
    after = LmdbBackend.open(files.crash(), tmp_path)
    assert (after.get(KEY, b"whole"), after.get(KEY, b"part"), after.get(KEY, b"gone")) == (b"1", None, None)
    assert after.applied == (1, 1)
    after.close()


def test_rule_b_writes_during_a_flush_belong_to_the_next(tmp_path: Path) -> None:
    files = LossyFiles()
    backend = LmdbBackend.open(files, tmp_path)
    backend.put(KEY, b"a", b"1")
    backend.seal(1, 1)
    job = backend.begin_flush()
    assert job is not None
    backend.put(KEY, b"a", b"2")
    backend.put(KEY, b"b", b"2")
    backend.seal(2, 1)
    assert backend.begin_flush() is None, "one at a time"
    job.run()
    backend.finish_flush(job)
    assert backend.get(KEY, b"a") == b"2"
    after = LmdbBackend.open(files.crash(), tmp_path)
    assert (after.applied, after.get(KEY, b"a"), after.get(KEY, b"b")) == ((1, 1), b"1", None)
    after.close()


def test_rule_c_durable_applied_is_what_a_crash_leaves(tmp_path: Path) -> None:
    files = LossyFiles()
    backend = LmdbBackend.open(files, tmp_path)
    for index in range(1, 6):
        _fill(backend, range(index * 10, index * 10 + 10), index)
        if index % 2:
            backend.flush()
    assert (backend.applied, backend.durable_applied) == ((5, 1), (5, 1))
    _fill(backend, range(100, 110), 6)
    job = backend.begin_flush()
    assert job is not None
    job.run()
    assert backend.durable_applied == (5, 1)
    after = LmdbBackend.open(files.crash(), tmp_path)
    assert after.applied >= backend.durable_applied
    after.close()


def test_rule_d_an_overlay_over_its_bound_lags_until_it_is_flushed(tmp_path: Path) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path, overlay_limit=10_000)
    told = [backend.lagging]
    for number in range(20):
        backend.put(KEY, _key(number), b"x" * 600)
    told.append(backend.lagging)
    backend.seal(1, 1)
    job = backend.begin_flush()
    assert job is not None
    told.append(backend.lagging)
    job.run()
    backend.finish_flush(job)
    told.append(backend.lagging)
    assert told == [False, True, True, False]
    backend.close()


def test_a_scan_sorts_what_came_in_any_order(backend: LmdbBackend) -> None:
    for name in (b"d", b"b", b"c"):
        backend.put(LEASE, name, name)
    backend.seal(1, 1)
    assert [name for name, _ in backend.scan(LEASE)] == [b"b", b"c", b"d"]
    for name in (b"f", b"e", b"a"):
        backend.put(LEASE, name, name)
    backend.seal(2, 1)
    assert [name for name, _ in backend.scan(LEASE)] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [name for name, _ in backend.scan(LEASE, b"b", b"e")] == [b"b", b"c", b"d"]


def test_effects_added_to_a_sealed_position_are_flushed_too(tmp_path: Path) -> None:
    """A compaction deletes between two entries, when there may be no next one for long."""
    files = LossyFiles()
    backend = LmdbBackend.open(files, tmp_path)
    _fill(backend, range(2), 1)
    backend.flush()
    backend.delete(KEY, _key(0))
    backend.seal(1, 1)
    backend.flush()
    after = LmdbBackend.open(files.crash(), tmp_path)
    assert after.get(KEY, _key(0)) is None
    after.close()


def test_deletes_are_flushed(backend: LmdbBackend) -> None:
    _fill(backend, range(10), 1)
    backend.flush()
    for number in range(0, 10, 2):
        backend.delete(KEY, _key(number))
    backend.put(KEY, _key(4), b"again")
    backend.delete(KEY, _key(5))
    backend.put(KEY, _key(6), b"shortly")
    backend.delete(KEY, _key(6))
    backend.seal(2, 1)
    expected = [(_key(number), b"v%d" % number) for number in (1, 3, 7, 9)]
    expected.insert(2, (_key(4), b"again"))
    assert list(backend.scan(KEY)) == expected
    backend.flush()
    assert list(backend.scan(KEY)) == expected


def test_a_key_deleted_and_written_again_in_entries_of_one_flush_has_its_last_state(backend: LmdbBackend) -> None:
    backend.delete(KEY, b"back")
    backend.put(KEY, b"away", b"1")
    backend.seal(1, 1)
    backend.put(KEY, b"back", b"2")
    backend.delete(KEY, b"away")
    backend.seal(2, 1)
    for _ in range(2):
        assert (backend.get(KEY, b"back"), backend.get(KEY, b"away")) == (b"2", None)
        assert list(backend.scan(KEY)) == [(b"back", b"2")]
        backend.flush()


@pytest.mark.parametrize(("start", "end"), [(0, None), (3, 7), (3, 3), (7, 3), (0, 1), (99, None), (4000, 4500)])
def test_a_scan_is_bounded_and_in_order(backend: LmdbBackend, start: int, end: int | None) -> None:
    numbers = range(3 * CHUNK)
    _fill(backend, numbers, 1)
    backend.flush()
    expected = {_key(number): b"v%d" % number for number in numbers}
    for number in (0, 5, CHUNK - 1, CHUNK, 4200):
        backend.delete(KEY, _key(number))
        del expected[_key(number)]
    for name in (_key(6), _key(6) + b"t", _key(4300) + b"t", _key(999999)):
        backend.put(KEY, name, b"written")
        expected[name] = b"written"
    low, high = _key(start), None if end is None else _key(end)
    wanted = sorted(item for item in expected.items() if item[0] >= low and (high is None or item[0] < high))
    assert list(backend.scan(KEY, low, high)) == wanted


@pytest.mark.parametrize("begin", range(5))
@pytest.mark.parametrize("go_on", range(5))
def test_a_scan_sees_the_same_whatever_a_flush_does_meanwhile(backend: LmdbBackend, begin: int, go_on: int) -> None:
    _fill(backend, range(0, 3 * CHUNK, 2), 1)
    backend.flush()
    for number in range(1, 3 * CHUNK, 2):
        backend.put(KEY, _key(number), b"v")
    backend.delete(KEY, _key(2 * CHUNK))
    jobs: list[FlushJob] = []
    steps = [
        lambda: None,
        lambda: backend.seal(2, 1),
        lambda: jobs.extend(filter(None, [backend.begin_flush()])),
        lambda: jobs[0].run(),
        lambda: backend.finish_flush(jobs[0]),
    ]
    for step in steps[: begin + 1]:
        step()
    scan = backend.scan(KEY)
    seen = [next(scan) for _ in range(100)]
    for step in steps[begin + 1 : go_on + 1]:
        step()
    seen.extend(scan)
    for step in steps[max(begin, go_on) + 1 :]:
        step()
    assert [int.from_bytes(name, "big") for name, _ in seen] == [n for n in range(3 * CHUNK) if n != 2 * CHUNK]


def test_get_many_keeps_order_and_repeats(backend: LmdbBackend) -> None:
    _fill(backend, range(10), 1)
    assert backend.get_many(KEY, [_key(3), _key(1), _key(3)]) == [b"v3", b"v1", b"v3"]
    backend.flush()
    assert backend.get_many(KEY, [_key(3), _key(1), _key(3)]) == [b"v3", b"v1", b"v3"]
    backend.put(KEY, _key(1), b"new")
    assert backend.get_many(KEY, [_key(3), _key(1), _key(3)]) == [b"v3", b"new", b"v3"]
    assert backend.get_many(KEY, []) == []


@pytest.mark.parametrize("missing", [_key(2), _key(50)])
@pytest.mark.parametrize("flushed", ["nothing", "the record", "the deletion"])
def test_get_many_of_a_missing_key_is_a_defect(backend: LmdbBackend, missing: bytes, flushed: str) -> None:
    _fill(backend, range(10), 1)
    if flushed == "the record":
        backend.flush()
    backend.delete(KEY, _key(2))
    backend.seal(2, 1)
    if flushed == "the deletion":
        backend.flush()
    with pytest.raises(InvariantBroken):
        backend.get_many(KEY, [_key(1), missing, _key(3)])


def test_positions_go_forward(backend: LmdbBackend) -> None:
    backend.seal(5, 1)
    backend.seal(5, 1)
    with pytest.raises(InvariantBroken):
        backend.seal(4, 1)


def test_a_reader_sees_one_durable_position_from_another_thread(backend: LmdbBackend) -> None:
    _fill(backend, range(10), 1)
    backend.flush()
    _fill(backend, range(10, 20), 2)
    reader = backend.snapshot_reader()
    backend.flush()
    _fill(backend, range(20, 30), 3)
    backend.flush()
    found: list[object] = []

    def read() -> None:
        found.append(reader.applied)
        found.append([int.from_bytes(key, "big") for key, _ in reader.scan(KEY)])
        found.append((reader.get(KEY, _key(5)), reader.get(KEY, _key(15)), reader.get_many(KEY, [_key(1)])))
        reader.close()

    worker = threading.Thread(target=read)
    worker.start()
    worker.join()
    assert found == [(1, 1), list(range(10)), (b"v5", None, [b"v1"])]
    with backend.snapshot_reader() as later:
        assert (later.applied, sum(map(len, later.chunks(KEY)))) == ((3, 1), 30)


def test_an_open_reader_keeps_the_backend_open(tmp_path: Path) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path)
    reader = backend.snapshot_reader()
    with pytest.raises(InvariantBroken, match="readers are closed"):
        backend.close()
    reader.close()
    reader.close()
    backend.close()


def test_sizes_grow_with_what_is_written_and_free_pages_stay_allocated(backend: LmdbBackend) -> None:
    empty = backend.size
    for number in range(200):
        backend.put(KEY, _key(number), b"x" * 1000)
    assert backend.size - empty > 200_000, "what waits counts"
    backend.seal(1, 1)
    backend.flush()
    full, used = backend.size, backend.size_in_use
    assert full - empty > 200_000
    assert used > 200_000
    for number in range(200):
        backend.delete(KEY, _key(number))
    backend.seal(2, 1)
    backend.flush()
    backend.seal(3, 1)
    backend.flush()
    assert backend.size >= full, "LMDB gives nothing back to the file system"
    assert backend.size_in_use < used // 2


def test_the_map_grows_before_a_flush_that_would_not_fit(tmp_path: Path) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path, map_size=1 << 20)
    for number in range(1000):
        backend.put(KEY, _key(number), b"x" * 4000)
    backend.seal(1, 1)
    backend.flush()
    assert backend.durable_applied == (1, 1)
    assert sum(1 for _ in backend.scan(KEY)) == 1000
    backend.close()


def test_a_map_that_cannot_grow_yet_is_full_and_the_same_job_comes_back(tmp_path: Path) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path, map_size=1 << 20)
    reader = backend.snapshot_reader()  # growing would pull the map away under it
    for number in range(1000):
        backend.put(KEY, _key(number), b"x" * 4000)
    backend.seal(1, 1)
    job = backend.begin_flush()
    assert job is not None
    with pytest.raises(BackendFull):
        job.run()
    backend.put(KEY, _key(0), b"later")
    backend.seal(2, 1)
    assert backend.get(KEY, _key(1)) == b"x" * 4000
    reader.close()
    again = backend.begin_flush()
    assert again is job
    job.run()
    backend.finish_flush(job)
    assert backend.durable_applied == (1, 1), "nothing overtook it"
    assert backend.get(KEY, _key(0)) == b"later"
    backend.flush()
    assert backend.durable_applied == (2, 1)
    backend.close()


def test_no_space_can_be_tried_again_and_another_failure_cannot(tmp_path: Path) -> None:
    for number, failure in ((errno.ENOSPC, BackendFull), (errno.EIO, BackendFailed)):
        directory = tmp_path / str(number)
        directory.mkdir()
        files = LossyFiles()
        backend = LmdbBackend.open(FaultyFiles(files, Fault(DATABASE, 2, number)), directory)
        backend.put(KEY, b"k", b"v")
        backend.seal(1, 1)
        job = backend.begin_flush()
        assert job is not None
        with pytest.raises(failure):
            job.run()
        again = backend.begin_flush()
        if failure is BackendFull:
            assert again is job
            job.run()
            backend.finish_flush(job)
        else:
            assert again is None
            with pytest.raises(InvariantBroken):
                job.run()
        after = LmdbBackend.open(files.crash(), directory)
        assert (after.get(KEY, b"k"), after.applied) == ((b"v", (1, 1)) if failure is BackendFull else (None, (0, 0)))
        after.close()


@pytest.mark.parametrize(("version", "what"), [(2, "newer version"), (0, "unknown version")])
def test_another_format_is_refused_by_its_number(tmp_path: Path, version: int, what: str) -> None:
    backend = LmdbBackend.open(RealFiles(), tmp_path)
    backend.seal(1, 1)
    backend.flush()
    backend.put(META, FORMAT_KEY, version.to_bytes(2, "big"))
    with backend._environment.begin(write=True) as transaction:
        transaction.put(FORMAT_KEY, version.to_bytes(2, "big"), db=backend._databases[META])
    backend.close()
    for _ in range(2):  # a refused environment is let go of
        with pytest.raises(FormatRefused, match=f"format {version} was written by an? {what}"):
            LmdbBackend.open(RealFiles(), tmp_path)


def test_what_is_no_lmdb_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(BackendFailed, match="cannot be opened"):
        LmdbBackend.open(RealFiles(), tmp_path)


@pytest.mark.parametrize(("skip", "lost"), [("backend-sync", True), (None, False)])
def test_leaving_out_the_sync_loses_a_flush_in_the_test_mode(tmp_path: Path, skip: str | None, lost: bool) -> None:
    files = LossyFiles(skip=[skip] if skip else [])
    backend = LmdbBackend.open(files, tmp_path)
    backend.put(KEY, b"k", b"v")
    backend.seal(1, 1)
    backend.flush()
    after = LmdbBackend.open(files.crash(), tmp_path)
    assert (after.applied == (0, 0)) == lost
    after.close()
