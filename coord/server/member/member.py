"""One member, put together: replica, state, log, backend, and everything that runs beside requests."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from coord.server.entry_pb2 import MemberAttributes
from coord.server.logs import logger
from coord.server.machine.apply import StateMachine
from coord.server.member.catching_up import CatchUp
from coord.server.member.expiry import SCAN_SECONDS, LeaseExpiry
from coord.server.member.figures import Figures
from coord.server.member.flusher import Flusher
from coord.server.member.identity import Identity
from coord.server.member.journal import Journal
from coord.server.member.pauses import TICK, PauseWatch
from coord.server.member.periodic import Periodic
from coord.server.member.quota import NoSpaceAlarm, Quota, dearest
from coord.server.member.replica import Replica
from coord.server.member.scrubber import Scrubber
from coord.server.settings.config import ServerConfig
from coord.server.storage.backend import LmdbBackend
from coord.server.storage.datadir import DataDir
from coord.server.storage.memory import MemoryBackend
from coord.wire.rpc_pb2 import NOSPACE

_log = logger(__name__)

_UPKEEP_SECONDS = 1.0


@dataclass(slots=True)
class Disk:
    """What only a member with a disk has."""

    directory: DataDir
    backend: LmdbBackend
    flusher: Flusher


class Member:
    """A member that was opened; `start` makes it serve.

    Attributes:
        config: its configuration.
        identity: cluster and member id.
        replica: writes and the read barrier.
        state: what reads ask, once the barrier lets them.
        backend: sizes and durable positions.
        figures: counters and histograms.
        clock: the time that leases run on.
    """

    def __init__(
        self,
        config: ServerConfig,
        loop: asyncio.AbstractEventLoop,
        replica: Replica,
        state: StateMachine,
        backend: LmdbBackend | MemoryBackend,
        journal: Journal,
        clock: PauseWatch,
        disk: Disk | None,
    ) -> None:
        self.config = config
        self.replica = replica
        self.state = state
        self.backend = backend
        self.identity: Identity = replica.identity
        self.figures: Figures = replica.figures
        self._loop = loop
        self._journal = journal
        self._disk = disk
        self._alarm = NoSpaceAlarm(self.identity.member_id, replica.propose)
        self.clock = clock
        clock.lengthen = state.lessor.lengthen_all
        self._expiry = LeaseExpiry(state.lessor, replica.propose, clock.now, self.figures)
        self._scrubber = Scrubber(loop, state, replica.seal, replica.fatal)
        replica.scrubbed = self._scrubber.scrubbed
        replica.after_apply.append(self._scrubber.check)
        watching = CatchUp(loop, state.watch_hub, replica.fatal)
        replica.at_failure += [watching.stop, self._scrubber.stop, self._stop_timers]
        if disk is not None:
            replica.at_failure.append(disk.flusher.halt)
        replica.no_space = self.raise_no_space
        self._timers = [
            Periodic(loop, TICK, clock.tick, replica.fatal),
            Periodic(loop, SCAN_SECONDS, self._expiry.scan, replica.fatal),
            Periodic(loop, _UPKEEP_SECONDS, self._upkeep, replica.fatal),
            Periodic(loop, TICK, watching.look, replica.fatal),
        ]
        if config.quota_bytes:
            largest = dearest(config.max_request_bytes)
            # Pages without records are written again before the database grows, and nothing but that makes room: with
            # them counted, a server that had once been full stayed so, whatever was deleted and compacted.
            quota = Quota(config.quota_bytes, largest, lambda: backend.size_in_use, self.raise_no_space)
            replica.over_quota = quota.refuses

    async def start(self) -> None:
        """Recover, lead, publish name and addresses, and begin what runs beside requests.

        Raises:
            Exception: what ended the replica meanwhile.
        """
        await self.replica.start()
        # A new leader does not know which leases were renewed of late: all get their full time again.
        self.state.lessor.promote(self.clock.now(), self.config.election_timeout_ms / 1000)
        if self._disk is not None:
            self._disk.flusher.start()
        self.clock.start()
        for timer in self._timers:
            timer.start()
        self._scrubber.check()
        await self.publish()

    async def publish(self) -> None:
        """Tell the group this member's name and client addresses, unless it knows them.

        Raises:
            Refused: the replica stops.
        """
        name, urls = self.config.name, list(self.config.advertise_client_urls)
        known = self.state.members.get(self.identity.member_id)
        if known is not None and (known.name, list(known.clientURLs)) == (name, urls):
            return
        attributes = MemberAttributes(member_id=self.identity.member_id, name=name, client_urls=urls)
        await self.replica.propose(member_attributes=attributes)

    async def stop(self, grace: float = 5.0) -> None:
        """Let requests under way finish, make everything durable, and let go of the directory.

        Raises:
            StorageError: the last flush or write failed; what was acknowledged is in the log.
        """
        self._stop_timers()
        await self.replica.stop(grace)
        self._scrubber.stop()
        async with contextlib.AsyncExitStack() as closing:
            if self._disk is not None:
                closing.callback(self._disk.directory.close)
                closing.callback(self._disk.backend.close)
            closing.push_async_callback(self._journal.close)
            if self._disk is not None:
                await self._disk.flusher.stop(healthy=self.replica.failure is None)

    def raise_no_space(self) -> None:
        """Propose this member's NOSPACE alarm if it is not set."""
        if not any(alarm.memberID == self.identity.member_id for alarm in self.state.alarms.get(NOSPACE)):
            self._alarm.raise_once()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.stop()

    def _upkeep(self) -> None:
        self._journal.keep_up()
        if self._journal.low_space:
            self.raise_no_space()
