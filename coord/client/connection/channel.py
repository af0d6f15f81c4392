"""gRPC channels for endpoints: options and failures, the same for blocking and asyncio use."""

from __future__ import annotations

from typing import Any, Final

import grpc

from coord import statuses
from coord.client.connection.retry import Failure
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.statuses import Status

CONNECT_SECONDS: Final = 2.0
"""Time for a connection up to the server's SETTINGS frame; a frozen server accepts connections and never sends it."""

KEEPALIVE_SECONDS: Final = 10.0  # etcd refuses clients that ping more often than every 5 s
KEEPALIVE_TIMEOUT_SECONDS: Final = 5.0

PROBE: Final = "/grpc.health.v1.Health/Check"
"""Asked before the first write on a connection. Any answer will do, even "no such method"."""

STREAM_ENDS: Final[tuple[type[BaseException], ...]] = (grpc.RpcError,)
"""What iterating over a stream raises when it breaks."""

OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    # Channels of one process share connections otherwise, also with channels inherited through a fork (grpc#34998).
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_SECONDS * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
    ("grpc.keepalive_permit_without_calls", 0),
    # A watch sends nothing for hours; with the default of 2, pings stop after the second and a dead peer stays unseen.
    ("grpc.http2.max_pings_without_data", 0),
    # Despite its name, the time a connection attempt may take (in gRPC's core).
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # etcd is on the inside; a proxy set for the web would be asked for it otherwise.
    ("grpc.enable_http_proxy", 0),
    # A service configuration found in DNS could add retries of writes.
    ("grpc.service_config_disable_resolution", 1),
)


def target(endpoint: Endpoint) -> str:
    """The endpoint in gRPC's words."""
    return endpoint.address


def options(endpoint: Endpoint, tls: Tls | None) -> list[tuple[str, Any]]:
    """Channel options for an endpoint."""
    extra: list[tuple[str, Any]] = []
    if endpoint.secure and tls is not None and tls.server_name:
        extra.append(("grpc.ssl_target_name_override", tls.server_name))
    if endpoint.address.startswith("unix:"):
        # The default is the percent-encoded path of the socket, which Go's HTTP/2 refuses as malformed.
        extra.append(("grpc.default_authority", "localhost"))
    return [*OPTIONS, *extra]


def credentials(tls: Tls | None) -> grpc.ChannelCredentials:
    """Credentials of a secure channel."""
    return (tls or Tls()).credentials()


def is_failure(error: BaseException) -> bool:
    """True if a call or stream of grpc ended with this."""
    return isinstance(error, grpc.RpcError)


def failure(error: BaseException, endpoint: Endpoint) -> Failure:
    """What grpc raised, as a value. A stream ended by its channel's close may raise what carries no status."""
    if not isinstance(error, grpc.RpcError):
        return Failure(Status(statuses.CANCELLED, str(error)), endpoint, True, error)
    code = error.code()
    status = Status(statuses.UNKNOWN if code is None else int(code.value[0]), error.details() or "")
    return Failure(status, endpoint, True, error)
