"""Opening a member: a new directory, an old one, one in memory, and those that are refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from coord.server.consensus import Entry, HardState, SnapshotMark
from coord.server.machine.apply import StateMachine
from coord.server.member.boot import BootRefused, Member, check_fit, identity_of, open_member
from coord.server.member.identity import Identity, cluster_id, member_id
from coord.server.mvcc.records import record_key
from coord.server.settings.config import ServerConfig
from coord.server.storage.backend import LmdbBackend
from coord.server.storage.contract import Bucket
from coord.server.storage.files import RealFiles
from coord.server.storage.wal import Metadata, Recovered
from coord.statuses import Refused
from coord.wire.rpc_pb2 import (
    CompactionRequest,
    LeaseGrantRequest,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def config(path: Path, **changes: Any) -> ServerConfig:
    return ServerConfig(data_dir=str(path / "data"), **changes)


class Deaths(list[BaseException]):
    """What ended the member, for tests that must not end."""


async def started(config: ServerConfig, *, memory: bool = False) -> Member:
    member = open_member(config, asyncio.get_running_loop(), memory=memory, on_fatal=Deaths().append)
    await member.start()
    return member


def value(member: Member, key: bytes) -> bytes | None:
    found = RangeResponse.FromString(member.state.range(RangeRequest(key=key)))
    return found.kvs[0].value if found.kvs else None


async def put(member: Member, key: bytes, text: bytes) -> PutResponse:
    response = await member.replica.propose(put=PutRequest(key=key, value=text))
    assert isinstance(response, PutResponse)
    return response


def test_ids_are_etcds() -> None:
    member = member_id(["http://127.0.0.1:24111"], "etcd-cluster")
    identity = Identity(cluster_id([member]), member)
    assert (identity.member_id, identity.cluster_id) == (0x8E9AAEDAB51D4DD8, 0x47C6AB1B7F4136A9)


def test_a_new_member_shows_term_two_and_its_own_entry(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path, name="n1"))
        assert member.replica.term == 2
        known = member.state.members.list()
        assert [(one.ID, one.name) for one in known] == [(member.identity.member_id, "n1")]
        assert list(known[0].peerURLs) == ["http://localhost:2380"]
        assert list(known[0].clientURLs) == ["http://localhost:2379"]
        await member.stop()

    run(check)


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        identity = member.identity
        for n in range(20):
            await put(member, b"k%d" % n, b"v%d" % n)
        revision = member.state.revision
        await member.stop()
        member = await started(config(tmp_path))
        assert member.identity == identity
        assert member.replica.term == 3
        assert member.state.revision == revision
        assert [value(member, b"k%d" % n) for n in range(20)] == [b"v%d" % n for n in range(20)]
        await member.stop()

    run(check)


def test_a_restart_without_a_stop_replays_the_log(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        for n in range(20):
            await put(member, b"k%d" % n, b"v%d" % n)
        shutil.copytree(tmp_path / "data", tmp_path / "crashed" / "data")
        copied = await started(config(tmp_path / "crashed"))
        assert [value(copied, b"k%d" % n) for n in range(20)] == [b"v%d" % n for n in range(20)]
        assert copied.state.hash_kv().hash == member.state.hash_kv().hash
        await copied.stop()
        await member.stop()

    run(check)


def test_a_restart_does_not_forget_the_members_name(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path, name="n1"))
        await member.stop()
        member = await started(config(tmp_path, name="n1"))
        before = member.replica.commit
        await member.publish()
        assert member.replica.commit == before
        await member.stop()

    run(check)


def test_a_lease_has_its_full_time_again_after_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        await member.replica.propose(lease_grant=LeaseGrantRequest(ID=7, TTL=100))
        await member.replica.propose(put=PutRequest(key=b"k", value=b"v", lease=7))
        await member.stop()
        member = await started(config(tmp_path))
        assert member.state.lessor.primary
        assert member.state.lessor.keys_of(7) == [b"k"]
        assert member.state.lessor.remaining(7, time.monotonic()) > 99
        await member.stop()

    run(check)


def test_marks_follow_flushes_and_the_log_is_shortened(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path, snapshot_count=10))
        for n in range(50):
            await put(member, b"k", b"v%d" % n)
        await member.stop()
        assert member.figures.snapshots >= 1
        member = await started(config(tmp_path, snapshot_count=10))
        assert value(member, b"k") == b"v49"
        await member.stop()

    run(check)


def test_a_compaction_is_scrubbed_in_the_background(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        for n in range(30):
            await put(member, b"k", b"v%d" % n)
        revision = member.state.revision
        await member.replica.propose(compaction=CompactionRequest(revision=revision))
        await member.replica.scrubbed(revision)
        assert member.state.scrubbed_revision == revision
        await member.stop()
        member = await started(config(tmp_path))
        assert member.state.scrubbed_revision == revision
        with pytest.raises(Refused, match="compacted"):
            member.state.range(RangeRequest(key=b"k", revision=revision - 1))
        await member.stop()

    run(check)


def test_half_of_an_entry_never_reaches_the_database(tmp_path: Path) -> None:
    """Apply breaks between two writes, while a compaction is dropped in slices that end with a seal of their own."""

    async def check() -> None:
        member = await started(config(tmp_path))
        for text in (b"x", b"y"):
            await put(member, b"k", text)
        with member.state.store.pinned(1):  # the compaction waits for a read, slice after slice
            await member.replica.propose(compaction=CompactionRequest(revision=member.state.revision))
            await break_between_two_writes(member)
        await member.stop()
        backend = LmdbBackend.open(RealFiles(), tmp_path / "data" / "member" / "db")
        stored = [record_key(record) for _, record in backend.scan(Bucket.KEY)]
        backend.close()
        assert b"half" not in stored

    async def break_between_two_writes(member: Member) -> None:
        def half(_: PutRequest) -> None:
            member.state.store.put(b"half", b"x", 0)
            raise RuntimeError("apply is broken")

        member.state._handlers["put"] = half
        broken = member.replica.propose(put=PutRequest(key=b"k", value=b"v"))
        with pytest.raises(Refused):
            await broken
        assert member.state.store.changed
        for _ in range(200):
            await asyncio.sleep(0.001)  # whatever goes on has its turn

    run(check)


def test_a_member_in_memory_starts_and_forgets() -> None:
    async def check() -> None:
        member = await started(ServerConfig(), memory=True)
        await put(member, b"k", b"v")
        assert value(member, b"k") == b"v"
        await member.stop()
        member = await started(ServerConfig(), memory=True)
        assert value(member, b"k") is None
        await member.stop()

    run(check)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        with pytest.raises(BootRefused, match="in use"):
            open_member(config(tmp_path), asyncio.get_running_loop())
        await member.stop()

    run(check)


def test_a_database_without_its_log_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        await put(member, b"k", b"v")
        await member.stop()
        shutil.rmtree(tmp_path / "data" / "member" / "wal")
        with pytest.raises(BootRefused, match="there is no log"):
            open_member(config(tmp_path), asyncio.get_running_loop())

    run(check)


def test_the_database_of_another_member_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        for name in ("one", "two"):
            member = await started(config(tmp_path / name, initial_cluster_token=name))
            await put(member, b"k", b"v")
            await member.stop()
        stolen = tmp_path / "one" / "data" / "member" / "db"
        shutil.rmtree(stolen)
        shutil.copytree(tmp_path / "two" / "data" / "member" / "db", stolen)
        with pytest.raises(BootRefused, match="of another one"):
            open_member(config(tmp_path / "one"), asyncio.get_running_loop())

    run(check)


def test_a_lost_database_is_rebuilt_from_a_log_that_reaches_back_to_the_start(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        await put(member, b"k", b"v")
        await member.stop()
        shutil.rmtree(tmp_path / "data" / "member" / "db")
        member = await started(config(tmp_path))
        assert value(member, b"k") == b"v"
        await member.stop()

    run(check)


def test_a_state_that_cannot_be_rebuilt_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        await (await started(config(tmp_path))).stop()
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(StateMachine, "restore", broken)
        with pytest.raises(RuntimeError, match="cannot be rebuilt"):
            open_member(config(tmp_path), asyncio.get_running_loop())
        assert len(os.listdir("/proc/self/fd")) == before

    def broken(_: StateMachine) -> None:
        raise RuntimeError("cannot be rebuilt")

    run(check)


def test_the_directories_above_a_log_elsewhere_survive_a_power_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    sync = RealFiles.sync_directory

    def noted(self: RealFiles, path: Path) -> None:
        synced.add(path)
        sync(self, path)

    monkeypatch.setattr(RealFiles, "sync_directory", noted)

    async def check() -> None:
        wal = tmp_path / "other" / "disk" / "wal"
        await (await started(config(tmp_path, wal_dir=str(wal)))).stop()
        assert synced >= {tmp_path, tmp_path / "other", tmp_path / "other" / "disk", wal}

    run(check)


def test_an_opened_directory_is_free_again_after_a_refusal(tmp_path: Path) -> None:
    async def check() -> None:
        member = await started(config(tmp_path))
        await put(member, b"k", b"v")
        await member.stop()
        wal = tmp_path / "data" / "member" / "wal"
        wal.rename(tmp_path / "kept")
        with pytest.raises(BootRefused):
            open_member(config(tmp_path), asyncio.get_running_loop())
        wal.rmdir()
        (tmp_path / "kept").rename(wal)
        member = await started(config(tmp_path))
        assert value(member, b"k") == b"v"
        await member.stop()

    run(check)


IDENTITY = Identity(1, 2)
STORED = (1).to_bytes(8, "big") + (2).to_bytes(8, "big")


def recovered(mark: int, last: int) -> Recovered:
    entries = [Entry(2, index, 0, b"") for index in range(mark + 1, last + 1)]
    return Recovered(Metadata(1, 2), HardState(2), SnapshotMark(mark, 2 if mark else 0), entries)


def test_log_and_database_that_overlap_fit() -> None:
    check_fit(recovered(0, 10), (0, 0), None)
    check_fit(recovered(5, 10), (5, 2), STORED)
    check_fit(recovered(5, 10), (10, 2), STORED)


def test_a_database_beyond_the_log_is_refused() -> None:
    with pytest.raises(BootRefused, match="holds log entry 11, but the log ends at 10"):
        check_fit(recovered(5, 10), (11, 2), STORED)


def test_a_gap_between_database_and_log_is_refused() -> None:
    with pytest.raises(BootRefused, match="begins behind entry 5, but the database holds only up to 4"):
        check_fit(recovered(5, 10), (4, 2), STORED)


def test_another_history_is_refused() -> None:
    with pytest.raises(BootRefused, match="not of one history"):
        check_fit(recovered(5, 10), (7, 1), STORED)


def test_a_foreign_database_is_refused() -> None:
    with pytest.raises(BootRefused, match="another one"):
        check_fit(recovered(0, 10), (0, 0), bytes(16))


def test_the_identity_comes_from_urls_and_token() -> None:
    plain = identity_of(ServerConfig())
    assert identity_of(ServerConfig(initial_cluster_token="other")) != plain
    assert identity_of(ServerConfig(name="other")) == plain
