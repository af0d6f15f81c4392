"""What both clients are made of besides their calls: arguments, state for repr, refusal to travel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from coord.client.calls import Call
from coord.client.connection import retry, urls
from coord.client.connection.core import Core, Settings
from coord.client.connection.history import History
from coord.client.connection.retry import Timeout
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.clock import now
from coord.errors import NoLeader, UsageError
from coord.keys import to_bytes
from coord.model import Member, ServerStatus
from coord.wire import methods
from coord.wire.methods import Method

T = TypeVar("T")

LEFT_LEAST: Final = 0.001  # seconds, since 0 would mean one attempt with a second of its own

CALL_SECONDS: Final = 5.0
"""Default for the client's own default timeout."""

Endpoints = str | Sequence[str | Endpoint]


def settings(endpoints: Endpoints, user: str | None, password: str | None, tls: Tls | None) -> Settings:
    """Where to connect and who to be; user and password given apart win over those in a URL.

    Raises:
        UsageError: the endpoints are malformed, or contradict the other arguments.
    """
    found: list[Endpoint] = []
    for piece in (endpoints,) if isinstance(endpoints, str) else endpoints:
        if isinstance(piece, Endpoint):
            found.append(piece)
            continue
        target = urls.parse(piece)
        found.extend(target.endpoints)
        if user is None and target.user is not None:
            user, password = target.user, password if password is not None else target.password
    if tls is not None and not any(endpoint.secure for endpoint in found):
        raise UsageError("tls was given, but no endpoint is https://")
    return Settings(tuple(dict.fromkeys(found)), tls, user, password)


class ClientBase:
    """Arguments and state of a client; see `BlockingClient` and `AsyncClient`."""

    _core: Core

    def __init__(self, *, namespace: str | bytes, timeout: Timeout) -> None:
        self._namespace = to_bytes(namespace)
        self._timeout = retry.seconds(timeout, CALL_SECONDS)
        self._history = History()

    def __repr__(self) -> str:
        # A constructor that failed leaves an object without a connection, which a debugger may still show.
        state = self._core.describe() if hasattr(self, "_core") else "not made"
        below = f" namespace={self._namespace.decode('utf-8', 'backslashreplace')!r}" if self._namespace else ""
        return f"<{type(self).__name__} {state}{below}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a {type(self).__name__} holds connections and leases and cannot be pickled or copied; send its URL and"
            " connect there"
        )

    @property
    def namespace(self) -> bytes:
        """What is put before every key."""
        return self._namespace

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take where it does not say otherwise, None for ever."""
        return self._timeout

    @property
    def closed(self) -> bool:
        """True once the client was closed."""
        return self._core.closed

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The known endpoints."""
        return tuple(endpoint.address for endpoint in self._core.endpoints)

    def _check_process(self) -> None:
        """Do nothing unless the servers were left behind in a parent process; called before anything is asked of them.

        Raises:
            ForkedError: they were.
        """

    def _limits(self, timeout: Timeout) -> tuple[float | None, bool]:
        return retry.limits(timeout, self._timeout, now())

    def _one_time(self, timeout: Timeout) -> Callable[[], float | None]:
        """What is left of one timeout, for several calls in a row; the same for each if it is none, or not to wait."""
        wanted = retry.seconds(timeout, self._timeout)
        if not wanted:
            return lambda: wanted
        end = now() + wanted
        return lambda: max(end - now(), LEFT_LEAST)

    def endpoint(self, wanted: str | None) -> Endpoint:
        """The endpoint that a call about one server is for, by default the one that calls go to.

        A known one lends its TLS to a bare address.

        Raises:
            UsageError: it is malformed.
        """
        if wanted is None:
            return self._core.choose()
        parsed = urls.parse(wanted).endpoints[0]
        return next((known for known in self._core.endpoints if known.address == parsed.address), parsed)

    def _leader_among(self, status: ServerStatus, members: Sequence[Member]) -> Endpoint:
        if status.leader and status.leader == status.header.member_id:
            return self.endpoint(status.endpoint)
        for member in members:
            if member.id == status.leader and member.client_urls:
                return urls.parse(member.client_urls[0]).endpoints[0]
        raise NoLeader("the cluster has no leader, or no member tells its address", endpoint=status.endpoint)


def raw_call(method: Method | str, request: Any, write: bool) -> Call[Any]:
    """A call of any unary method by path, with its own message.

    Raises:
        UsageError: there is no such method, or it is a stream, or the message is of another type.
    """
    row = methods.METHODS.get(method) if isinstance(method, str) else method
    if row is None:
        raise UsageError(f"unknown method {method!r}")
    if row.kind is not methods.Kind.UNARY:
        raise UsageError(f"{row.path} is a stream")
    if not isinstance(request, row.request):
        raise UsageError(f"{row.path} takes a {row.request.__name__}, not a {type(request).__name__}")
    return Call(row, request, _as_it_is, write=write)


def _as_it_is(response: Any) -> Any:
    return response
