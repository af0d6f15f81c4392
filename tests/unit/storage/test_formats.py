"""Every format that was ever released is opened as it lies on disk.

`fixtures/format-<n>.tar.gz` was made once by `python -m tests.unit.storage.test_formats <n>` and is never made again
for the same number: a change that cannot read it needs a new format.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from coord.server.consensus import HardState, SnapshotMark
from coord.server.storage import flush, records
from coord.server.storage.backend import LmdbBackend
from coord.server.storage.contract import Bucket
from coord.server.storage.files import RealFiles
from coord.server.storage.lossy import LossyFiles
from coord.server.storage.wal import Wal
from tests.unit.storage.wal_tools import WHOSE, entry, new_log, open_log

FIXTURES = Path(__file__).parent / "fixtures"
ENTRIES = [entry(index, 3, b"value %d" % index, kind=index % 2) for index in range(1, 9)]
MARK = SnapshotMark(4, 3, (1, 2, 3), (4,))


def make(directory: Path) -> None:
    """A log and a database whose content the tests know."""
    (directory / "wal").mkdir()
    wal = new_log(RealFiles(), directory / "wal", 512)
    for one in ENTRIES:
        wal.write(Wal.encode(HardState(3, 2, one.index - 1), [one]))
        if one.index == MARK.index:
            wal.mark(MARK)
    wal.close()
    for leftover in (directory / "wal").glob("*.tmp"):
        leftover.unlink()
    (directory / "db").mkdir()
    backend = LmdbBackend.open(LossyFiles(), directory / "db", map_size=1 << 20)
    for bucket in Bucket:
        backend.put(bucket, b"key of " + bucket.value.encode(), b"value of " + bucket.value.encode())
    backend.seal(6, 3)
    backend.flush()
    backend.close()


def _unpack(fixture: Path, directory: Path) -> None:
    with tarfile.open(fixture) as archive:
        archive.extractall(directory, filter="data")


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("format-*.tar.gz")), ids=lambda path: path.name)
def test_a_released_format_is_read(fixture: Path, tmp_path: Path) -> None:
    _unpack(fixture, tmp_path)
    wal, recovered = open_log(RealFiles(), tmp_path / "wal", 512)
    assert recovered.entries == ENTRIES[MARK.index :]
    assert recovered.mark == MARK
    assert recovered.hard_state == HardState(3, 2, 7)
    assert (recovered.metadata.cluster_id, recovered.metadata.member_id) == (WHOSE.cluster_id, WHOSE.member_id)
    wal.close()
    backend = LmdbBackend.open(RealFiles(), tmp_path / "db", map_size=1 << 20)
    assert backend.applied == (6, 3)
    for bucket in Bucket:
        name = bucket.value.encode()
        assert backend.get(bucket, b"key of " + name) == b"value of " + name
    backend.close()


def test_the_formats_written_now_have_a_fixture() -> None:
    """A new number in the code without its fixture would let the next change break it unseen."""
    assert records.FORMAT == flush.FORMAT == len(list(FIXTURES.glob("format-*.tar.gz")))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        with tarfile.open(FIXTURES / f"format-{int(sys.argv[1])}.tar.gz", "x:gz") as archive:
            archive.add(name, arcname=".", filter=lambda member: None if member.name.endswith("lock.mdb") else member)
