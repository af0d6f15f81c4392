from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.storage.datadir import DataDir, DataDirLock
from coord.server.storage.errors import DataDirLocked, FilesMisconfigured
from coord.server.storage.faults import FDATASYNC, PREALLOCATE, WRITE, Fault, FaultyFiles
from coord.server.storage.files import IOV_MAX, Files, RealFiles, RealLock, files_from_environment, write_at
from coord.server.storage.lossy import PREFIX, LossyFiles


@pytest.fixture(params=["real", "lossy", "faulty"])
def files(request: pytest.FixtureRequest) -> Files:
    kinds: dict[str, Files] = {
        "real": RealFiles(),
        "lossy": LossyFiles(),
        "faulty": FaultyFiles(RealFiles(), Fault(WRITE, 1000, errno.EIO)),
    }
    return kinds[request.param]


def test_a_released_directory_is_free_although_a_forked_child_lives(tmp_path: Path) -> None:
    lock = RealFiles().lock(tmp_path / "data.lock")
    assert isinstance(lock, RealLock)
    of_the_child = os.dup(lock._descriptor)  # what fork leaves in a child
    lock.release()
    again = RealFiles().lock(tmp_path / "data.lock")
    os.close(of_the_child)
    assert again is not None
    again.release()


def test_all_files_behave_alike_without_a_crash(files: Files, tmp_path: Path) -> None:
    files.mkdir(tmp_path / "d")
    files.mkdir(tmp_path / "d")
    path = tmp_path / "d" / "f"
    file = files.create(path)
    file.preallocate(100)
    file.write([b"one", b"two"])
    assert file.position == 6
    file.sync()
    file.write([b"three"])
    assert files.read(path) == b"onetwothree" + bytes(89)
    with pytest.raises(FileExistsError):
        files.create(path)
    file.close()
    again = files.open(path, 3)
    again.write([b"TWO"])
    again.close()
    files.rename(path, tmp_path / "d" / "g")
    files.sync_directory(tmp_path / "d")
    files.sync_directory(tmp_path)
    assert files.names(tmp_path / "d") == ["g"]
    assert files.read(tmp_path / "d" / "g")[:12] == b"oneTWOthree\0"
    files.unlink(tmp_path / "d" / "g")
    assert files.names(tmp_path / "d") == []
    assert files.names(tmp_path / "absent") == []
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "d" / "g")
    assert files.free_space(tmp_path) > 0


def test_a_write_of_many_buffers_is_complete(tmp_path: Path) -> None:
    buffers = [bytes([number % 251]) * (number % 7) for number in range(3 * IOV_MAX + 5)]
    with (tmp_path / "f").open("w+b") as file:
        end = write_at(file.fileno(), buffers, 10)
    assert (tmp_path / "f").read_bytes() == bytes(10) + b"".join(buffers)
    assert end == 10 + sum(map(len, buffers))


def test_a_write_the_kernel_stops_early_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, at: real(fd, [b"".join(buffers)[:5]], at))
    with (tmp_path / "f").open("w+b") as file:
        assert write_at(file.fileno(), [b"abc", b"defghi", b"j"], 0) == 10
    assert (tmp_path / "f").read_bytes() == b"abcdefghij"


def test_a_crash_loses_bytes_names_renames_and_unlinks_that_were_not_synced(tmp_path: Path) -> None:
    files = LossyFiles()
    kept = files.create(tmp_path / "kept")
    kept.write([b"synced"])
    kept.sync()
    files.create(tmp_path / "unlinked").close()
    files.create(tmp_path / "renamed").close()
    files.sync_directory(tmp_path)
    kept.write([b" and not"])
    files.create(tmp_path / "new").sync()
    files.unlink(tmp_path / "unlinked")
    files.rename(tmp_path / "renamed", tmp_path / "other")
    files.mkdir(tmp_path / "dir")
    assert files.read(tmp_path / "kept") == b"synced and not"
    assert files.names(tmp_path) == ["dir", "kept", "new", "other"]
    after = files.crash()
    assert after.names(tmp_path) == ["kept", "renamed", "unlinked"]
    assert after.read(tmp_path / "kept") == b"synced"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(PREFIX)]
    with pytest.raises(InvariantBroken):
        kept.write([b"more"])


def test_a_crash_keeps_what_was_synced(tmp_path: Path) -> None:
    files = LossyFiles()
    files.mkdir(tmp_path / "d")
    file = files.create(tmp_path / "d" / "old")
    file.write([b"bytes"])
    file.sync()
    files.rename(tmp_path / "d" / "old", tmp_path / "d" / "new")
    files.sync_directory(tmp_path / "d")
    files.sync_directory(tmp_path)
    file.write([b"later"])
    file.sync()
    after = files.crash()
    assert after.names(tmp_path / "d") == ["new"]
    assert after.read(tmp_path / "d" / "new") == b"byteslater"


def test_a_directory_that_was_not_synced_takes_what_is_in_it_along(tmp_path: Path) -> None:
    files = LossyFiles()
    files.mkdir(tmp_path / "d")
    files.create(tmp_path / "d" / "f").sync()
    files.sync_directory(tmp_path / "d")
    assert files.crash().names(tmp_path) == []


def test_with_a_seed_parts_of_a_write_get_through(tmp_path: Path) -> None:
    seen = set()
    for seed in range(40):
        files = LossyFiles(torn_seed=seed)
        path = tmp_path / str(seed)
        file = files.create(path)
        files.sync_directory(tmp_path)
        file.write([b"x" * 2000])
        after = files.crash().read(path)
        assert set(after) <= {0, ord("x")}
        if not after.strip(b"\0"):
            seen.add("nothing")
        elif b"\0" not in after.rstrip(b"\0"):
            seen.add("prefix within a sector" if len(after.rstrip(b"\0")) % 512 else "prefix")
        else:
            seen.add("later sectors without earlier ones")
    assert seen >= {"nothing", "prefix within a sector", "later sectors without earlier ones"}


def test_the_n_th_call_fails_once_or_from_then_on(tmp_path: Path) -> None:
    def outcomes(text: str) -> list[bool]:
        file = FaultyFiles(RealFiles(), Fault.parse(text)).create(tmp_path / text)
        found = []
        for _ in range(4):
            try:
                file.sync()
                found.append(True)
            except OSError as error:
                found.append(error.errno != errno.EIO)
        file.close()
        return found

    assert outcomes(f"{FDATASYNC}:2:EIO") == [True, False, True, True]
    assert outcomes(f"{FDATASYNC}:3+:EIO") == [True, True, False, False]
    assert outcomes(f"{PREALLOCATE}:1:EIO") == [True] * 4


def test_the_environment_chooses_the_files() -> None:
    assert isinstance(files_from_environment({}), RealFiles)
    assert isinstance(files_from_environment({"COORD_FILES": "real"}), RealFiles)
    assert isinstance(files_from_environment({"COORD_FILES": "lossy", "COORD_FILES_TORN": "7"}), LossyFiles)
    assert isinstance(files_from_environment({"COORD_FILES_FAULT": "write:1:EIO"}), FaultyFiles)


@pytest.mark.parametrize(
    "environment",
    [
        {"COORD_FILES": "fast"},
        {"COORD_FILES_SKIP": "wal-fdatasync"},
        {"COORD_FILES": "real", "COORD_FILES_TORN": "1"},
        {"COORD_FILES": "lossy", "COORD_FILES_SKIP": "everything"},
        {"COORD_FILES": "lossy", "COORD_FILES_TORN": "x"},
        {"COORD_FILES_FAULT": "write:EIO"},
        {"COORD_FILES_FAULT": "read:1:EIO"},
        {"COORD_FILES_FAULT": "write:1:EWHAT"},
    ],
)
def test_an_environment_without_meaning_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(FilesMisconfigured):
        files_from_environment(environment)


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    first = DataDir(RealFiles(), tmp_path / "a" / "data")
    with pytest.raises(DataDirLocked, match=f"in use by another server \\(process {os.getpid()}\\)"):
        DataDir(RealFiles(), tmp_path / "a" / "data")
    first.close()
    second = DataDirLock(RealFiles(), tmp_path / "a" / "data")
    second.release()


def test_a_data_directory_can_be_entered_only_by_its_owner(tmp_path: Path) -> None:
    data = DataDir(RealFiles(), tmp_path / "data")
    for directory in (data.root, data.member, data.wal, data.db):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (data.wal, data.db) == (tmp_path / "data" / "member" / "wal", tmp_path / "data" / "member" / "db")
    data.close()


def test_a_made_data_directory_survives_a_crash(tmp_path: Path) -> None:
    files = LossyFiles()
    DataDir(files, tmp_path / "data").close()
    after = files.crash()
    assert after.names(tmp_path / "data" / "member") == ["db", "wal"]
