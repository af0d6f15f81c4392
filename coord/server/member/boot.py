"""Opens a member: makes a new data directory, or finds out what an old one holds and refuses what does not fit.

A directory is new until its log exists; the log is made last. What the backend holds beyond the log, or the log lacks
before its first entry, nobody can make up: such a directory is refused, with what to do about it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coord.errors import CoordError
from coord.server.consensus import Entry, HardState
from coord.server.logs import logger
from coord.server.machine.apply import StateMachine
from coord.server.member.figures import Figures
from coord.server.member.flusher import Flusher
from coord.server.member.identity import Identity, cluster_id, member_id
from coord.server.member.journal import Journal, MemoryJournal, WalJournal
from coord.server.member.member import Disk, Member
from coord.server.member.pauses import PauseWatch
from coord.server.member.replica import Limits, Replica
from coord.server.member.solo import SoloConsensus
from coord.server.member.unsynced import UnsyncedFiles
from coord.server.member.worker import Worker
from coord.server.settings.config import ServerConfig
from coord.server.storage.backend import LmdbBackend, default_map_size
from coord.server.storage.contract import Backend, Bucket
from coord.server.storage.datadir import DataDir, make_durably
from coord.server.storage.errors import StorageError
from coord.server.storage.files import Files, files_from_environment
from coord.server.storage.memory import MemoryBackend
from coord.server.storage.wal import Metadata, Recovered, Wal
from coord.wire.rpc_pb2 import Member as MemberMessage

__all__ = ["BootRefused", "LogSizes", "Member", "end_process", "open_member"]

_log = logger(__name__)

_IDENTITY = b"coordIdentity"
_FIRST_TERM = 1
"""The term before the first leader's; so a new store shows raft term 2, as etcd's does."""


@dataclass(frozen=True, slots=True)
class LogSizes:
    """Bytes of the log's parts.

    Attributes:
        segment: of one file. A start reads the last one whole and two are taken ahead: with etcd's 64 MB a server for
            one lock used 128 MB of disk and started a third of a second later.
        mark: of entries after which there is a snapshot mark however few they are; a start reads all behind the mark.
    """

    segment: int = 16 << 20
    mark: int = 64 << 20


class BootRefused(CoordError):
    """The data directory cannot be served; the message says why and what to do."""


def open_member(
    config: ServerConfig,
    loop: asyncio.AbstractEventLoop,
    *,
    memory: bool = False,
    log: LogSizes | None = None,
    on_fatal: Callable[[BaseException], None] | None = None,
) -> Member:
    """Open the member of `config` (with `memory`: one that keeps nothing), ready to be started on `loop`.

    `on_fatal` is called on the loop when the server cannot go on; by default the process ends with status 1.

    Raises:
        BootRefused: the directory is damaged, of another format or member, in use, or its parts do not fit together.
        OSError: it cannot be made or read.
    """
    end = end_process if on_fatal is None else on_fatal
    if memory:
        return _open_in_memory(config, loop, end)
    try:
        files = UnsyncedFiles() if config.unsafe_no_fsync else files_from_environment()
        return _open_on_disk(config, loop, files, log or LogSizes(), end)
    except StorageError as error:
        raise BootRefused(str(error)) from error


def end_process(error: BaseException) -> None:
    """The default end of a server that cannot go on: at once, so that nobody gets an answer it cannot vouch for."""
    sys.stderr.write(f"coord: the server cannot go on: {error}\n")
    sys.stderr.flush()
    os._exit(1)


def identity_of(config: ServerConfig) -> Identity:
    """The identity that a new directory gets."""
    token = config.initial_cluster_token
    ids = {name: member_id(urls, token) for name, urls in config.members().items()}
    return Identity(cluster_id(ids.values()), ids[config.name])


def _open_in_memory(
    config: ServerConfig, loop: asyncio.AbstractEventLoop, end: Callable[[BaseException], None]
) -> Member:
    identity, figures, backend = identity_of(config), Figures(), MemoryBackend()
    clock = PauseWatch(time.monotonic, figures)
    consensus = SoloConsensus(identity.member_id, HardState(_FIRST_TERM), 0)
    state = _state(config, identity, backend, consensus, clock)
    journal = MemoryJournal(figures)
    replica = _replica(config, identity, consensus, state, backend, journal, loop, figures, end)
    return Member(config, loop, replica, state, backend, journal, clock, None)


def _open_on_disk(
    config: ServerConfig,
    loop: asyncio.AbstractEventLoop,
    files: Files,
    log: LogSizes,
    end: Callable[[BaseException], None],
) -> Member:
    directory = DataDir(files, Path(config.directory))
    backend: LmdbBackend | None = None
    wal: Wal | None = None
    try:
        backend = LmdbBackend.open(files, directory.db, map_size=default_map_size(config.quota_bytes))
        wal_path = _wal_path(config, directory, files)
        if Wal.exists(files, wal_path):
            wal, recovered = _recover(files, wal_path, backend, log.segment)
        else:
            wal, recovered = _create(files, wal_path, backend, identity_of(config), log.segment)
        return _assemble(config, loop, directory, backend, wal, recovered, log, end)
    except BaseException:
        if wal is not None:
            wal.close()
        if backend is not None:
            backend.close()
        directory.close()
        raise


def _wal_path(config: ServerConfig, directory: DataDir, files: Files) -> Path:
    if not config.wal_dir:
        return directory.wal
    path = Path(config.wal_dir)
    make_durably(files, path.parent)
    files.mkdir(path)
    files.sync_directory(path.parent)
    return path


def _create(
    files: Files, path: Path, backend: LmdbBackend, identity: Identity, segment_size: int
) -> tuple[Wal, Recovered]:
    index = backend.applied[0]
    if index:
        raise BootRefused(
            f"the database holds log entry {index}, but there is no log in {path}. "
            "Put the log back (was it on another disk, --wal-dir?) or restore from a snapshot."
        )
    backend.put(Bucket.META, _IDENTITY, _encode_identity(identity))
    backend.seal(0, 0)
    backend.flush()
    metadata = Metadata(identity.cluster_id, identity.member_id)
    _log.info("made a new data directory", member=f"{identity.member_id:x}", cluster=f"{identity.cluster_id:x}")
    return Wal.create(files, path, metadata, segment_size=segment_size), Recovered(metadata)


def _recover(files: Files, path: Path, backend: LmdbBackend, segment_size: int) -> tuple[Wal, Recovered]:
    wal, recovered = Wal.open(files, path, segment_size=segment_size)
    if recovered.torn_bytes:
        _log.warning("the log ended in an unfinished write, which nobody was told of", bytes=recovered.torn_bytes)
    try:
        check_fit(recovered, backend.applied, backend.get(Bucket.META, _IDENTITY))
    except BootRefused:
        wal.close()
        raise
    return wal, recovered


def check_fit(recovered: Recovered, applied: tuple[int, int], stored_identity: bytes | None) -> None:
    """Log and database belong together and overlap.

    Raises:
        BootRefused: they do not.
    """
    metadata, (index, term) = recovered.metadata, applied
    identity = Identity(metadata.cluster_id, metadata.member_id)
    if stored_identity not in (None, _encode_identity(identity)):
        raise BootRefused(f"the log is of {identity}, but the database of another one. Do not mix data directories.")
    if index > recovered.last_index:
        raise BootRefused(
            f"the database holds log entry {index}, but the log ends at {recovered.last_index}: acknowledged writes "
            "are missing from the log. Restore from a snapshot or replace this member."
        )
    if index < recovered.mark.index:
        raise BootRefused(
            f"the log begins behind entry {recovered.mark.index}, but the database holds only up to {index}: writes "
            "between the two are lost. Restore from a snapshot or replace this member."
        )
    found = _term_at(recovered, index)
    if index and found != term:
        raise BootRefused(
            f"log entry {index} has term {found}, the database says {term}: they are not of one history. "
            "Do not mix data directories; restore from a snapshot or replace this member."
        )


def _term_at(recovered: Recovered, index: int) -> int:
    if index == recovered.mark.index:
        return recovered.mark.term
    return recovered.entries[index - recovered.mark.index - 1].term


def _assemble(
    config: ServerConfig,
    loop: asyncio.AbstractEventLoop,
    directory: DataDir,
    backend: LmdbBackend,
    wal: Wal,
    recovered: Recovered,
    log: LogSizes,
    end: Callable[[BaseException], None],
) -> Member:
    identity = Identity(recovered.metadata.cluster_id, recovered.metadata.member_id)
    figures = Figures()
    clock = PauseWatch(time.monotonic, figures)
    term = max(recovered.hard_state.term, _FIRST_TERM)
    unapplied = _unapplied(recovered, backend.applied[0])
    consensus = SoloConsensus(identity.member_id, HardState(term), recovered.last_index, unapplied)
    state = _state(config, identity, backend, consensus, clock)

    def fatal(error: BaseException) -> None:
        replica.fatal(error)

    unmarked_bytes = sum(len(entry.data) for entry in recovered.entries)
    journal = WalJournal(wal, Worker(loop, "coord-wal"), figures, fatal, unmarked_bytes)
    replica = _replica(config, identity, consensus, state, backend, journal, loop, figures, end)
    replica.lagging = lambda: backend.lagging
    flusher = Flusher(
        loop,
        backend,
        Worker(loop, "coord-flush"),
        journal,
        figures,
        snapshot_count=config.snapshot_count,
        mark_bytes=log.mark,
        marked=recovered.mark.index,
        voters=(identity.member_id,),
        no_space=lambda: member.raise_no_space(),  # noqa: PLW0108 - the member is made below
        fatal=fatal,
    )
    replica.after_apply.append(flusher.relieve)
    member = Member(config, loop, replica, state, backend, journal, clock, Disk(directory, backend, flusher))
    return member


def _unapplied(recovered: Recovered, applied: int) -> list[Entry]:
    return recovered.entries[applied - recovered.mark.index :]


def _state(
    config: ServerConfig, identity: Identity, backend: Backend, consensus: SoloConsensus, clock: PauseWatch
) -> StateMachine:
    """The state as the backend has it."""
    state = StateMachine(
        backend,
        cluster_id=identity.cluster_id,
        member_id=identity.member_id,
        term=lambda: consensus.term,
        now=clock.now,
        min_lease_ttl=config.lease_ttl_min_s,
        max_request_bytes=config.max_request_bytes,
    )
    state.restore()
    if state.members.get(identity.member_id) is None:
        peers = config.initial_advertise_peer_urls
        state.members.put(MemberMessage(ID=identity.member_id, peerURLs=peers))
        backend.seal(*backend.applied)
    return state


def _replica(
    config: ServerConfig,
    identity: Identity,
    consensus: SoloConsensus,
    state: StateMachine,
    backend: Backend,
    journal: Journal,
    loop: asyncio.AbstractEventLoop,
    figures: Figures,
    end: Callable[[BaseException], None],
) -> Replica:
    return Replica(
        identity,
        consensus,
        state,
        journal,
        loop=loop,
        applied=backend.applied,
        seal=backend.seal,
        limits=Limits(
            request_timeout=config.request_timeout_s,
            request_bytes=config.max_request_bytes,
            slow_apply=config.warning_apply_ms / 1000,
        ),
        figures=figures,
        on_fatal=end,
    )


def _encode_identity(identity: Identity) -> bytes:
    return identity.cluster_id.to_bytes(8, "big") + identity.member_id.to_bytes(8, "big")
