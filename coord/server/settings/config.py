"""What one server is told at its start: every field with unit, default and reason, checked once.

Filled by `coord.server.settings.flags` (command line, environment, file) and by `coord.server.embedded`. Messages are
etcd's, so that what people look for in a log is what they find.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from coord.errors import UsageError
from coord.server.settings.durations import parse_duration
from coord.server.settings.urls import Url, parse_url

DEFAULT_NAME = "default"
DEFAULT_CLIENT_URL = "http://localhost:2379"
DEFAULT_PEER_URL = "http://localhost:2380"

# A longer election timeout than this makes a cluster look dead for a minute: etcd refuses it, and so do we.
ELECTION_TIMEOUT_MS_MAX = 50_000
REQUEST_BYTES_RECOMMENDED_MAX = 10 * 1024 * 1024
QUOTA_DEFAULT = 2 * 1024**3
QUOTA_RECOMMENDED_MAX = 8 * 1024**3
# What gRPC may add around the largest request that is accepted.
GRPC_OVERHEAD_BYTES = 512 * 1024


class ConfigError(UsageError):
    """The configuration cannot work; the message says which setting and why."""


@dataclass(slots=True)
class ServerConfig:
    """Settings of one server; a field's name is the flag's name with underscores, units last.

    Attributes:
        name: member name, shown in member lists.
        data_dir: directory of all durable state; empty means ``<name>.etcd`` in the working directory.
        wal_dir: directory of the log if it shall lie on another disk; empty means inside `data_dir`.
        listen_client_urls: where clients are accepted: http://ip:port, unix:///path.
        advertise_client_urls: what member lists tell clients.
        listen_peer_urls: where other members are accepted (one member listens to nobody).
        initial_advertise_peer_urls: what member lists tell other members; member ids are made from it.
        initial_cluster: ``name=url,…`` of the first start; empty means this member alone.
        initial_cluster_state: "new" or "existing".
        initial_cluster_token: part of member ids, so that two clusters with the same addresses differ.
        heartbeat_interval_ms: leader's heartbeat; etcd's default for a local network.
        election_timeout_ms: silence after which a follower stands for election; also bounds lease TTLs from below.
        quota_backend_bytes: size at which writes are refused; 0 means 2 GiB, negative means no quota.
        max_txn_ops: operations of one branch of a transaction.
        max_request_bytes: encoded size of one proposal; what is larger delays everybody behind it.
        max_concurrent_streams: calls of one connection at a time.
        max_learners: members that follow without voting.
        snapshot_count: entries between two snapshot marks.
        snapshot_catchup_entries: entries kept behind a mark for slow followers.
        grpc_keepalive_min_time_s: clients that ping more often are sent away.
        grpc_keepalive_interval_s: how often an idle connection is probed, 0 for never.
        grpc_keepalive_timeout_s: silence after a probe that ends the connection.
        watch_progress_interval_s: how often an idle watch tells how far it is.
        warning_apply_ms: a slower apply is logged.
        warning_unary_ms: a slower call is logged.
        auto_compaction_mode: "periodic" or "revision".
        auto_compaction_retention: hours, a duration, or a number of revisions; "0" is off.
        unsafe_no_fsync: never wait for the disk; a crash of the machine loses data. For tests.
        log_level: debug, info, warn or error.
        log_format: "json" or "console".
        log_outputs: "default", "stderr", "stdout" or file paths.
        idle_stop_s: stop after so many seconds without connections and leases, 0 for never (the local server's).
        ready_fd: file descriptor to which ``ready`` and a newline are written once clients are served; -1 for none.
        warnings: things worth a log line that were found while the configuration was read.
    """

    name: str = DEFAULT_NAME
    data_dir: str = ""
    wal_dir: str = ""
    listen_client_urls: Sequence[str] = (DEFAULT_CLIENT_URL,)
    advertise_client_urls: Sequence[str] = (DEFAULT_CLIENT_URL,)
    listen_peer_urls: Sequence[str] = (DEFAULT_PEER_URL,)
    initial_advertise_peer_urls: Sequence[str] = (DEFAULT_PEER_URL,)
    initial_cluster: str = ""
    initial_cluster_state: str = "new"
    initial_cluster_token: str = "etcd-cluster"
    heartbeat_interval_ms: int = 100
    election_timeout_ms: int = 1000
    quota_backend_bytes: int = 0
    max_txn_ops: int = 128
    max_request_bytes: int = 1_572_864
    max_concurrent_streams: int = 2**32 - 1
    max_learners: int = 1
    snapshot_count: int = 10_000
    snapshot_catchup_entries: int = 5_000
    grpc_keepalive_min_time_s: float = 5.0
    grpc_keepalive_interval_s: float = 7200.0
    grpc_keepalive_timeout_s: float = 20.0
    watch_progress_interval_s: float = 600.0
    warning_apply_ms: float = 100.0
    warning_unary_ms: float = 300.0
    auto_compaction_mode: str = "periodic"
    auto_compaction_retention: str = "0"
    unsafe_no_fsync: bool = False
    log_level: str = "info"
    log_format: str = "json"
    log_outputs: Sequence[str] = ("default",)
    idle_stop_s: float = 0.0
    ready_fd: int = -1
    warnings: list[str] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """The data directory, with the default filled in."""
        return self.data_dir or f"{self.name}.etcd"

    @property
    def quota_bytes(self) -> int:
        """Size at which writes are refused; 0 for no quota."""
        if self.quota_backend_bytes < 0:
            return 0
        return self.quota_backend_bytes or QUOTA_DEFAULT

    @property
    def request_timeout_s(self) -> float:
        """How long a proposal or a linearizable read may take: disk and queue, and two elections.

        Source: etcd server/config ServerConfig.ReqTimeout.
        """
        return 5.0 + 2 * self.election_timeout_ms / 1000

    @property
    def lease_ttl_min_s(self) -> int:
        """Shortest lease: one and a half elections, so that a change of leader expires nobody.

        Source: etcd server/etcdserver/server.go minTTL.
        """
        ticks = self.election_timeout_ms // self.heartbeat_interval_ms
        return -(-(3 * ticks // 2) * self.heartbeat_interval_ms // 1000)

    @property
    def receive_bytes_max(self) -> int:
        """Largest message accepted from a client."""
        return self.max_request_bytes + GRPC_OVERHEAD_BYTES

    @property
    def retention(self) -> float:
        """History to keep, in seconds or in revisions as `auto_compaction_mode` says; 0 for all.

        Raises:
            ConfigError: it is no number (hours) or duration, or no number of revisions.
        """
        text = self.auto_compaction_retention
        try:
            if self.auto_compaction_mode == "revision" or text.isdigit():
                return float(int(text)) * (1 if self.auto_compaction_mode == "revision" else 3600)
            return parse_duration(text)
        except ValueError as error:
            raise ConfigError(f"error parsing auto-compaction-retention: {error}") from error

    def members(self) -> dict[str, tuple[str, ...]]:
        """Peer URLs of every initial member by its name.

        Raises:
            ConfigError: `initial_cluster` cannot be read, or lacks this member.
        """
        if not self.initial_cluster:
            return {self.name: tuple(self.initial_advertise_peer_urls)}
        found: dict[str, list[str]] = {}
        for part in self.initial_cluster.split(","):
            name, sign, url = part.partition("=")
            if not sign or not url:
                raise ConfigError(f"empty URL given for {name.strip()!r}")
            found.setdefault(name.strip(), []).append(url.strip())
        if self.name not in found:
            raise ConfigError(f'couldn\'t find local name "{self.name}" in the initial cluster configuration')
        return {name: tuple(urls) for name, urls in found.items()}

    def validate(self) -> None:
        """Check everything that can be checked without touching disk or network; adds to `warnings`.

        Raises:
            ConfigError: a setting cannot work.
        """
        self._validate_urls()
        self._validate_timing()
        self._validate_limits()
        self._validate_cluster()

    def _validate_urls(self) -> None:
        for url in (*self.listen_client_urls, *self.listen_peer_urls):
            _bindable(_parsed(url))
        for url in (*self.advertise_client_urls, *self.initial_advertise_peer_urls):
            _parsed(url)
        if not self.listen_client_urls:
            raise ConfigError("no client URL to listen on")
        for url in self.listen_client_urls:
            if _parsed(url).secure:
                raise ConfigError(
                    f"TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
                )

    def _validate_timing(self) -> None:
        heartbeat, election = self.heartbeat_interval_ms, self.election_timeout_ms
        if heartbeat <= 0:
            raise ConfigError(f"--heartbeat-interval must be >0 (set to {heartbeat}ms)")
        if election <= 0:
            raise ConfigError(f"--election-timeout must be >0 (set to {election}ms)")
        if 5 * heartbeat > election:
            raise ConfigError(
                f"--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
            )
        if election > ELECTION_TIMEOUT_MS_MAX:
            raise ConfigError(
                f"--election-timeout[{election}ms] is too long, and should be set less than {ELECTION_TIMEOUT_MS_MAX}ms"
            )
        if self.watch_progress_interval_s <= 0:
            raise ConfigError("--watch-progress-notify-interval must be >0")

    def _validate_limits(self) -> None:
        for flag, value in (
            ("--max-txn-ops", self.max_txn_ops),
            ("--max-request-bytes", self.max_request_bytes),
            ("--max-concurrent-streams", self.max_concurrent_streams),
            ("--snapshot-count", self.snapshot_count),
            ("--snapshot-catchup-entries", self.snapshot_catchup_entries),
        ):
            if value <= 0:
                raise ConfigError(f"{flag} must be >0 (set to {value})")
        if self.max_request_bytes > REQUEST_BYTES_RECOMMENDED_MAX:
            self.warnings.append(
                f"maximum request size {self.max_request_bytes} exceeds the recommended {REQUEST_BYTES_RECOMMENDED_MAX}"
            )
        if self.quota_backend_bytes > QUOTA_RECOMMENDED_MAX:
            self.warnings.append(
                f"quota {self.quota_backend_bytes} exceeds the recommended maximum {QUOTA_RECOMMENDED_MAX}"
            )
        if self.auto_compaction_mode not in ("periodic", "revision"):
            raise ConfigError(f'unknown auto-compaction-mode "{self.auto_compaction_mode}"')
        if self.retention < 0:
            raise ConfigError("--auto-compaction-retention must not be negative")
        if self.idle_stop_s > 0 and not os.path.exists("/proc/self/net/unix"):
            raise ConfigError("--idle-stop counts connections in /proc, which this system does not have")
        if self.log_level not in ("debug", "info", "warn", "error", "panic", "fatal"):
            raise ConfigError(f'unknown log level "{self.log_level}"')
        if self.log_format not in ("json", "console"):
            raise ConfigError(f"unknown log format {self.log_format!r}, supported: json, console")

    def _validate_cluster(self) -> None:
        members = self.members()
        if self.initial_cluster_state not in ("new", "existing"):
            raise ConfigError(f'unexpected clusterState "{self.initial_cluster_state}"')
        if sorted(members[self.name]) != sorted(self.initial_advertise_peer_urls):
            raise ConfigError(
                f"--initial-cluster has {self.name}={','.join(sorted(members[self.name]))} "
                f"but missing from --initial-advertise-peer-urls={','.join(sorted(self.initial_advertise_peer_urls))}"
            )
        if len(members) > 1:
            raise ConfigError("--initial-cluster names several members; this server runs as a single member")


def _parsed(url: str) -> Url:
    try:
        return parse_url(url)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _bindable(url: Url) -> None:
    """A listener needs an address of this machine; names may resolve to something else tomorrow.

    Source: etcd server/embed/config.go checkBindURLs.
    """
    if url.is_unix:
        # The kernel keeps 108 bytes for the path, and gRPC needs some of them.
        if len(os.fsencode(url.path)) > 100:
            raise ConfigError(f"unix socket path is longer than 100 bytes: {url.path}")
    elif url.host != "localhost" and not url.host_is_ip:
        raise ConfigError(f"expected IP in URL for binding ({url})")
