"""Every command line flag of etcd, and what becomes of it here.

A flag either sets a field of `ServerConfig`, or is accepted because nothing depends on it here, or asks for something
this server does not have: then another value than the default is refused, so that nobody runs with less than he asked
for (TLS, say) and does not know it.

Source: etcd server/etcdmain/help.go and server/embed/config.go, releases 3.4 to 3.7.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """How a flag's text is read."""

    TEXT = "string"
    LIST = "list"
    BOOL = "bool"
    INT = "int"
    UINT = "uint"
    FLOAT = "float"
    DURATION = "duration"


class Support(enum.Enum):
    """What this server does with a flag."""

    SET = "sets a field"
    ACCEPTED = "accepted, nothing depends on it"
    REFUSED = "refused unless it has its default"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: without dashes.
        kind: how its text is read.
        default: what the help shows.
        text: one line for the help.
        field: field of ServerConfig, for SET.
        support: what is done with it.
        choices: if not empty, the only texts allowed.
        scale: the field is the number read times this.
    """

    name: str
    kind: Kind
    default: str
    text: str
    field: str = ""
    support: Support = Support.SET
    choices: tuple[str, ...] = ()
    scale: float = 1.0


_T, _L, _B, _I, _U, _F, _D = Kind.TEXT, Kind.LIST, Kind.BOOL, Kind.INT, Kind.UINT, Kind.FLOAT, Kind.DURATION
_OK, _NO = Support.ACCEPTED, Support.REFUSED

_SET = (
    Flag("name", _T, "default", "human-readable name of this member", "name"),
    Flag("data-dir", _T, "", "directory of all durable state (default ${name}.etcd)", "data_dir"),
    Flag("wal-dir", _T, "", "directory of the log, if it shall lie on another disk", "wal_dir"),
    Flag("snapshot-count", _U, "10000", "log entries between two snapshot marks", "snapshot_count"),
    Flag("snapshot-catchup-entries", _U, "5000", "entries kept for slow followers", "snapshot_catchup_entries"),
    Flag("heartbeat-interval", _U, "100", "milliseconds between heartbeats", "heartbeat_interval_ms"),
    Flag("election-timeout", _U, "1000", "milliseconds until an election", "election_timeout_ms"),
    Flag("listen-peer-urls", _L, "http://localhost:2380", "URLs to listen on for members", "listen_peer_urls"),
    Flag("listen-client-urls", _L, "http://localhost:2379", "URLs to listen on for clients", "listen_client_urls"),
    Flag("quota-backend-bytes", _I, "0", "size limit, 0 means 2 GiB, negative none", "quota_backend_bytes"),
    Flag("max-txn-ops", _U, "128", "operations of one transaction", "max_txn_ops"),
    Flag("max-request-bytes", _U, "1572864", "bytes of one request", "max_request_bytes"),
    Flag("max-concurrent-streams", _U, "4294967295", "calls of one connection at a time", "max_concurrent_streams"),
    Flag("grpc-keepalive-min-time", _D, "5s", "shortest time between pings of a client", "grpc_keepalive_min_time_s"),
    Flag("grpc-keepalive-interval", _D, "2h", "time between pings to a client", "grpc_keepalive_interval_s"),
    Flag("grpc-keepalive-timeout", _D, "20s", "time for a client to answer a ping", "grpc_keepalive_timeout_s"),
    Flag(
        "initial-advertise-peer-urls",
        _L,
        "http://localhost:2380",
        "peer URLs told to the cluster",
        "initial_advertise_peer_urls",
    ),
    Flag(
        "advertise-client-urls", _L, "http://localhost:2379", "client URLs told to the cluster", "advertise_client_urls"
    ),
    Flag("initial-cluster", _T, "", "name=URL of every first member (default this one)", "initial_cluster"),
    Flag("initial-cluster-state", _T, "new", "new or existing", "initial_cluster_state", choices=("new", "existing")),
    Flag("initial-cluster-token", _T, "etcd-cluster", "makes ids of clusters differ", "initial_cluster_token"),
    Flag("auto-compaction-mode", _T, "periodic", "periodic or revision", "auto_compaction_mode"),
    Flag("auto-compaction-retention", _T, "0", "history to keep, 0 for all", "auto_compaction_retention"),
    Flag("max-learners", _I, "1", "members that follow without voting", "max_learners"),
    Flag("log-level", _T, "info", "debug, info, warn or error", "log_level"),
    Flag("log-format", _T, "json", "json or console", "log_format", choices=("json", "console")),
    Flag("log-outputs", _L, "default", "stdout, stderr, default or files", "log_outputs"),
    Flag("unsafe-no-fsync", _B, "false", "never wait for the disk; loses data in a crash", "unsafe_no_fsync"),
    Flag("watch-progress-notify-interval", _D, "10m", "time between progress marks", "watch_progress_interval_s"),
    Flag("warning-apply-duration", _D, "100ms", "log applies slower than this", "warning_apply_ms", scale=1000),
    Flag("warning-unary-request-duration", _D, "300ms", "log calls slower than this", "warning_unary_ms", scale=1000),
    Flag("idle-stop", _F, "0", "stop after so many seconds without clients and leases", "idle_stop_s"),
    Flag("config-file", _T, "", "YAML file that replaces all other settings", support=_OK),
    Flag("ready-fd", _I, "-1", "file descriptor told when clients are served", "ready_fd"),
)

_ACCEPTED = (
    Flag("initial-election-tick-advance", _B, "true", "", support=_OK),
    Flag("max-snapshots", _U, "5", "", support=_OK),
    Flag("max-wals", _U, "5", "", support=_OK),
    Flag("backend-batch-interval", _D, "0s", "", support=_OK),
    Flag("backend-batch-limit", _I, "0", "", support=_OK),
    Flag("backend-bbolt-freelist-type", _T, "map", "", support=_OK, choices=("map", "array")),
    Flag("socket-reuse-address", _B, "false", "", support=_OK),
    Flag("enable-grpc-gateway", _B, "true", "", support=_OK),
    Flag("strict-reconfig-check", _B, "true", "", support=_OK),
    Flag("pre-vote", _B, "true", "", support=_OK),
    Flag("v2-deprecation", _T, "not-yet", "", support=_OK),
    Flag("tls-min-version", _T, "TLS1.2", "", support=_OK),
    Flag("tls-max-version", _T, "", "", support=_OK),
    Flag("cipher-suites", _L, "", "", support=_OK),
    Flag("self-signed-cert-validity", _U, "1", "", support=_OK),
    Flag("cors", _L, "*", "", support=_OK),
    Flag("host-whitelist", _L, "*", "", support=_OK),
    Flag("bcrypt-cost", _U, "10", "", support=_OK),
    Flag("auth-token-ttl", _U, "300", "", support=_OK),
    Flag("metrics", _T, "basic", "", support=_OK, choices=("basic", "extensive")),
    Flag("logger", _T, "zap", "", support=_OK, choices=("zap", "capnslog")),
    Flag("log-package-levels", _T, "", "", support=_OK),
    Flag("debug", _B, "false", "", support=_OK),
    Flag("compaction-batch-limit", _I, "1000", "", support=_OK),
    Flag("compaction-sleep-interval", _D, "10ms", "", support=_OK),
    Flag("compact-hash-check-time", _D, "1m", "", support=_OK),
    Flag("downgrade-check-time", _D, "5s", "", support=_OK),
    Flag("memory-mlock", _B, "false", "", support=_OK),
    Flag("bootstrap-defrag-threshold-megabytes", _U, "0", "", support=_OK),
    Flag("feature-gates", _T, "", "", support=_OK),
    Flag("proxy-failure-wait", _U, "5000", "", support=_OK),
    Flag("proxy-refresh-interval", _U, "30000", "", support=_OK),
    Flag("proxy-dial-timeout", _U, "1000", "", support=_OK),
    Flag("proxy-write-timeout", _U, "5000", "", support=_OK),
    Flag("proxy-read-timeout", _U, "0", "", support=_OK),
    Flag("discovery-fallback", _T, "proxy", "", support=_OK),
)

_REFUSED = (
    Flag("listen-client-http-urls", _L, "", "", support=_NO),
    Flag("listen-metrics-urls", _L, "", "", support=_NO),
    Flag("socket-reuse-port", _B, "false", "", support=_NO),
    Flag("discovery", _T, "", "", support=_NO),
    Flag("discovery-srv", _T, "", "", support=_NO),
    Flag("discovery-srv-name", _T, "", "", support=_NO),
    Flag("discovery-proxy", _T, "", "", support=_NO),
    Flag("discovery-token", _T, "", "", support=_NO),
    Flag("discovery-endpoints", _L, "", "", support=_NO),
    Flag("proxy", _T, "off", "", support=_NO),
    Flag("enable-v2", _B, "false", "", support=_NO),
    Flag("cert-file", _T, "", "", support=_NO),
    Flag("key-file", _T, "", "", support=_NO),
    Flag("client-cert-file", _T, "", "", support=_NO),
    Flag("client-key-file", _T, "", "", support=_NO),
    Flag("trusted-ca-file", _T, "", "", support=_NO),
    Flag("client-crl-file", _T, "", "", support=_NO),
    Flag("client-cert-allowed-hostname", _T, "", "", support=_NO),
    Flag("client-cert-auth", _B, "false", "", support=_NO),
    Flag("auto-tls", _B, "false", "", support=_NO),
    Flag("peer-cert-file", _T, "", "", support=_NO),
    Flag("peer-key-file", _T, "", "", support=_NO),
    Flag("peer-client-cert-file", _T, "", "", support=_NO),
    Flag("peer-client-key-file", _T, "", "", support=_NO),
    Flag("peer-trusted-ca-file", _T, "", "", support=_NO),
    Flag("peer-crl-file", _T, "", "", support=_NO),
    Flag("peer-cert-allowed-cn", _T, "", "", support=_NO),
    Flag("peer-cert-allowed-hostname", _T, "", "", support=_NO),
    Flag("peer-client-cert-auth", _B, "false", "", support=_NO),
    Flag("peer-auto-tls", _B, "false", "", support=_NO),
    Flag("peer-skip-client-san-verification", _B, "false", "", support=_NO),
    Flag("auth-token", _T, "simple", "", support=_NO),
    Flag("enable-pprof", _B, "false", "", support=_NO),
    Flag("enable-distributed-tracing", _B, "false", "", support=_NO),
    Flag("enable-log-rotation", _B, "false", "", support=_NO),
    Flag("log-rotation-config-json", _T, "", "", support=_NO),
    Flag("force-new-cluster", _B, "false", "", support=_NO),
    Flag("initial-corrupt-check", _B, "false", "", support=_NO),
    Flag("corrupt-check-time", _D, "0s", "", support=_NO),
)

FLAGS: dict[str, Flag] = {flag.name: flag for flag in (*_SET, *_ACCEPTED, *_REFUSED)}
"""Every flag by its name."""

EXPERIMENTAL = "experimental-"
"""Releases before 3.6 put this in front of flags that have lost it since; both forms are read."""
