"""One server: the member's state, the handler table over it, and the addresses it is served on.

Puts parts together and takes them apart in the right order; knows what none of them do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from coord import statuses
from coord.errors import CoordError
from coord.server.api.cluster import ClusterApi
from coord.server.api.kv import KvApi
from coord.server.api.lease import LeaseApi
from coord.server.api.maintenance import MaintenanceApi
from coord.server.api.watch import WatchApi
from coord.server.invariant import InvariantBroken
from coord.server.logs import logger
from coord.server.member.autocompaction import AutoCompaction, make_plan
from coord.server.member.boot import Member, open_member
from coord.server.member.periodic import Periodic
from coord.server.settings.config import ServerConfig
from coord.server.settings.urls import Url, parse_url
from coord.server.transport import listeners
from coord.server.transport.grpc_adapter import GrpcServer
from coord.server.transport.health import Health
from coord.server.transport.table import Row, Table
from coord.server.version import ETCD_VERSION, coord_version

_log = logger(__name__)

STOP_GRACE_S = 5.0
"""How long proposals under way may take to finish at a stop."""

# Answers that were just made still have to reach their clients; half a second was too short on a busy machine.
_FAREWELL_S = 2.0
_QUIET_LOOKS = 10
_QUIET_LOOK_S = 0.05
_IDLE_CHECKS = 10
_IDLE_CHECK_MAX_S = 5.0


class StartError(CoordError):
    """The server could not be started; the message says why."""


class Server:
    """One server. Made, started and stopped on the loop it runs on.

    Attributes:
        config: its configuration.
        health: what it tells load balancers.
        failure: what ended it, None while nothing did.
        idle_since: instant of `time.monotonic` since which it has had no connections and no leases; None if it has any.
    """

    def __init__(
        self, config: ServerConfig, *, memory: bool = False, on_idle: Callable[[Server], bool] | None = None
    ) -> None:
        """Prepare; nothing is opened before `start`.

        With `memory` nothing is kept. `on_idle` is asked when the server has been idle for ``config.idle_stop_s``, and
        again at the next look if it says no; True stops the server. Without it an idle server stops.
        """
        self.config = config
        self.health = Health()
        self.failure: BaseException | None = None
        self.idle_since: float | None = None
        self._memory = memory
        self._on_idle = on_idle
        self._member: Member | None = None
        self._table: Table | None = None
        self._grpc: GrpcServer | None = None
        self._urls: list[Url] = []
        self._timers: list[Periodic] = []
        self._leaderless_looks = 0
        self._stopping = asyncio.Event()

    # What others may know

    @property
    def urls(self) -> Sequence[str]:
        """Where clients are served, with the ports that were chosen."""
        return [str(url) for url in self._urls]

    @property
    def member(self) -> Member:
        """The member's state, from `start` on.

        Raises:
            StartError: the server was not started.
        """
        if self._member is None:
            raise StartError("the server was not started")
        return self._member

    @property
    def connections(self) -> int:
        """Connections that clients have open now."""
        return listeners.connections(self._urls)

    @property
    def leases(self) -> int:
        """Leases that exist now."""
        return 0 if self._member is None else len(self._member.state.lessor)

    @property
    def calls(self) -> int:
        """Calls begun since the start; a stream is one."""
        return 0 if self._table is None else sum(row.figures.started for row in self._table)

    def is_idle(self) -> bool:
        """True if nobody is connected and no lease is alive at this moment."""
        return not self.connections and not self.leases

    # Start

    async def start(self) -> None:
        """Take the addresses, open the member, and serve.

        Raises:
            StartError: an address is taken, or the data directory cannot be served.
        """
        config = self.config
        _log.info(
            "starting an etcd server",
            **{"etcd-version": ETCD_VERSION, "coord-version": coord_version(), "name": config.name},
            **{"data-dir": "" if self._memory else config.directory, "listen-client-urls": config.listen_client_urls},
        )
        loop = asyncio.get_running_loop()
        try:
            urls = [parse_url(url) for url in dict.fromkeys(config.listen_client_urls)]
            for url in urls:
                # Before anything is made or recovered, which may take a while.
                listeners.claim(url)
            self._member = open_member(config, loop, memory=self._memory, on_fatal=self.fail)
            self._table = self._make_table(self._member)
            self._grpc = self._make_grpc(self._table)
            self._urls = [self._grpc.listen(url) for url in urls]
            await self._member.start()
            await self._grpc.start()
        except OSError as error:
            raise StartError(str(error)) from error
        except Exception as error:
            if self.failure is None:
                raise
            # What waited for the start was told "stopped", or the first thing that failed; this is why.
            raise StartError(str(self.failure)) from error
        self._announce()
        self._start_timers(loop)

    def _make_table(self, member: Member) -> Table:
        config, replica = self.config, member.replica
        rows: list[Row] = [
            *KvApi(replica, max_txn_ops=config.max_txn_ops).rows(),
            *WatchApi(replica, progress_interval_s=config.watch_progress_interval_s).rows(),
            *LeaseApi(replica).rows(),
            *ClusterApi(replica).rows(),
            *MaintenanceApi(replica, member.backend, quota_bytes=config.quota_bytes).rows(),
            *self.health.rows(),
        ]
        table = Table(rows, slow_seconds=config.warning_unary_ms / 1000)
        table.leaderless = lambda: not replica.leader
        return table

    def _make_grpc(self, table: Table) -> GrpcServer:
        config = self.config
        return GrpcServer(
            table,
            receive_bytes_max=config.receive_bytes_max,
            keepalive_min_time_s=config.grpc_keepalive_min_time_s,
            keepalive_interval_s=config.grpc_keepalive_interval_s,
            keepalive_timeout_s=config.grpc_keepalive_timeout_s,
            streams_max=config.max_concurrent_streams,
            broken=self._handler_failed,
        )

    def _announce(self) -> None:
        member = self.member
        self.health.change(True)
        _log.info(
            "published local member to cluster through raft",
            **{"local-member-id": f"{member.identity.member_id:x}", "cluster-id": f"{member.identity.cluster_id:x}"},
        )
        _log.info("ready to serve client requests")
        for url in self._urls:
            _log.info(
                "serving client traffic insecurely; this is strongly discouraged!",
                traffic="grpc",
                address=url.grpc_address,
            )

    # Time

    def _start_timers(self, loop: asyncio.AbstractEventLoop) -> None:
        config, member = self.config, self.member
        plan = make_plan(config.auto_compaction_mode, config.retention, time.monotonic(), member.state.revision)
        if plan is not None:
            compaction = AutoCompaction(plan, lambda: member.state.revision, member.replica.propose)
            self._timers.append(Periodic(loop, plan.every_s, compaction.look, self.fail))
        election_s = config.election_timeout_ms / 1000
        self._timers.append(Periodic(loop, election_s, self._look_for_leader, self.fail))
        if config.idle_stop_s > 0:
            every = min(config.idle_stop_s / _IDLE_CHECKS, _IDLE_CHECK_MAX_S)
            self.idle_since = time.monotonic()
            self._timers.append(Periodic(loop, every, self._look_for_clients, self.fail))
        for timer in self._timers:
            timer.start()

    def _look_for_leader(self) -> None:
        """End streams that want a leader when there has been none for three looks.

        Source: etcd server/etcdserver/api/v3rpc/interceptor.go monitorLeader.
        """
        self._leaderless_looks = 0 if self.member.replica.leader else self._leaderless_looks + 1
        if self._leaderless_looks >= 3 and self._table is not None:
            self._table.end_streams(statuses.NO_LEADER, wanting_leader=True)

    def _look_for_clients(self) -> None:
        if not self.is_idle():
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = time.monotonic()
        elif time.monotonic() - self.idle_since >= self.config.idle_stop_s and self._may_stop():
            _log.info("nobody needs this server; shutting down", idle=self.config.idle_stop_s)
            self.request_stop()

    def _may_stop(self) -> bool:
        return self._on_idle is None or self._on_idle(self)

    # Stop

    def request_stop(self) -> None:
        """Have `wait_stopping` return; whoever waits there calls `stop`."""
        self._stopping.set()

    async def wait_stopping(self) -> None:
        """Return when the server shall stop, or failed."""
        await self._stopping.wait()

    def fail(self, error: BaseException) -> None:
        """The server cannot go on: nothing more is answered."""
        if self.failure is None:
            self.failure = error
            _log.critical("the server failed", error=str(error))
        if self._table is not None:
            self._table.serving = False
        self.request_stop()

    def _handler_failed(self, error: BaseException) -> None:
        if isinstance(error, InvariantBroken):
            self.fail(error)

    async def stop(self) -> None:
        """Stop in order: no new calls, streams ended, proposals finished, everything durable, directory let go."""
        self.request_stop()
        self.health.change(False)
        for timer in self._timers:
            timer.stop()
        table, grpc, member = self._table, self._grpc, self._member
        self._table = self._grpc = self._member = None
        if table is not None:
            table.serving = False
            table.end_streams(statuses.STOPPED)
        try:
            if member is not None:
                await member.stop(STOP_GRACE_S)
        finally:
            if table is not None and grpc is not None:
                await _quiet(table)
                await grpc.stop(_FAREWELL_S)
        _log.info("closed etcd server", name=self.config.name)


async def _quiet(table: Table) -> None:
    """Go on refusing calls until clients have gone elsewhere, for a moment at most.

    A call that arrives while gRPC shuts down ends with CANCELLED, which tells its client nothing; a refused one ends
    with UNAVAILABLE. Without calls there is nothing to wait for.
    """
    seen = 0
    for _ in range(_QUIET_LOOKS):
        if table.refused == seen:
            return
        seen = table.refused
        await asyncio.sleep(_QUIET_LOOK_S)
