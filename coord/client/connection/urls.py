"""Where a cluster is: parsing what users write. Pure; knows nothing of gRPC.

Accepted: ``host``, ``host:port``, ``http://host:port``, ``https://host:port``, ``unix:///path``, ``etcd://a:2379,b``,
``etcds://a,b`` (the same with TLS), and comma lists of all of these. ``user:password@`` may stand before a host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote

from coord.errors import UsageError

DEFAULT_PORT: Final = 2379

_SECURE: Final = {"": False, "http": False, "https": True, "etcd": False, "etcds": True, "unix": False, "unixs": True}


class Endpoint(NamedTuple):
    """One place to connect to.

    Attributes:
        address: ``host:port``, or ``unix:/path``.
        secure: TLS is spoken there.
    """

    address: str
    secure: bool = False

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL says: the endpoints, and who to be there (None where it does not say)."""

    endpoints: tuple[Endpoint, ...]
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        listed = ",".join(e.address for e in self.endpoints)
        return f"<Target {listed}{f' user={self.user!r}' if self.user else ''}>"


def parse(url: str) -> Target:
    """Read a URL or a comma list.

    Raises:
        UsageError: it is empty, names an unknown scheme, a bad port, or two different users.
    """
    endpoints: list[Endpoint] = []
    users: set[tuple[str, str | None]] = set()
    scheme = ""
    for piece in (part.strip() for part in url.split(",")):
        if not piece:
            raise UsageError(f"an endpoint is empty in {_safe(url)!r}")
        scheme, rest = _split_scheme(piece, scheme)
        if scheme.startswith("unix"):
            endpoints.append(Endpoint(_unix(rest), _SECURE[scheme]))
            continue
        user, rest = _split_user(rest)
        if user:
            users.add(user)
        endpoints.append(Endpoint(_host_port(rest), _SECURE[scheme]))
    if len(users) > 1:
        raise UsageError("the endpoints name different users")
    name, password = users.pop() if users else (None, None)
    return Target(tuple(dict.fromkeys(endpoints)), name, password)


def _split_scheme(piece: str, inherited: str) -> tuple[str, str]:
    """Scheme and rest; an endpoint without a scheme takes that of the one before it (``etcd://a,b``)."""
    scheme, found, rest = piece.partition("://")
    if not found:
        if piece.startswith("unix:"):
            return "unix", piece[len("unix:") :]
        return ("" if inherited.startswith("unix") else inherited), piece
    scheme = scheme.lower()
    if scheme not in _SECURE or not scheme:
        raise UsageError(f"unknown scheme {scheme!r}; use http, https, unix, etcd or etcds")
    return scheme, rest


def _unix(rest: str) -> str:
    path = unquote(rest)
    if not path:
        raise UsageError("a unix endpoint needs the path of its socket")
    return f"unix:{path}"


def _split_user(rest: str) -> tuple[tuple[str, str | None] | None, str]:
    before, found, host = rest.rpartition("@")
    if not found:
        return None, rest
    name, with_password, password = before.partition(":")
    if not name:
        raise UsageError("the user name before '@' is empty")
    return (unquote(name), unquote(password) if with_password else None), host


def _host_port(rest: str) -> str:
    rest = rest.rstrip("/")
    if any(mark in rest for mark in "/?#"):
        raise UsageError(f"an endpoint is a host and a port, without path or query: {rest!r}")
    if rest.startswith("["):
        host, closed, after = rest.partition("]")
        if not closed or (after and not after.startswith(":")):
            raise UsageError(f"bad IPv6 address {rest!r}")
        host, port = host + closed, after[1:]
    elif rest.count(":") > 1:
        host, port = f"[{rest}]", ""
    else:
        host, _, port = rest.partition(":")
    if not host or host == "[]":
        raise UsageError("an endpoint needs a host")
    if not port:
        return f"{host}:{DEFAULT_PORT}"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"bad port {port!r}")
    return f"{host}:{int(port)}"


def _safe(url: str) -> str:
    """The URL without what might be a password, for messages."""
    return url.rpartition("@")[2]
