"""Addresses as etcd writes them: http://host:port, https://…, unix://path, unixs://path.

Source: etcd client/pkg/types/urls.go NewURLs.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

_SCHEMES = ("http", "https", "unix", "unixs")


@dataclass(frozen=True, slots=True)
class Url:
    """One address, split.

    Attributes:
        scheme: http, https, unix or unixs.
        host: host without brackets, empty for unix.
        port: port, 0 for unix and for "any".
        path: socket path for unix, else empty.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        """True for a socket file."""
        return self.scheme in ("unix", "unixs")

    @property
    def secure(self) -> bool:
        """True if TLS is asked for."""
        return self.scheme in ("https", "unixs")

    @property
    def host_is_ip(self) -> bool:
        """True if the host is an IP address."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True

    @property
    def grpc_address(self) -> str:
        """The address as gRPC writes it."""
        if self.is_unix:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path if self.is_unix else self.grpc_address}"


def parse_url(text: str) -> Url:
    """Split an address.

    Raises:
        ValueError: it is not an address etcd would accept; the text is etcd's.
    """
    text = text.strip()
    scheme, sign, rest = text.partition("://")
    if not sign or scheme not in _SCHEMES:
        raise ValueError(f"URL scheme must be http, https, unix, or unixs: {text}")
    if scheme in ("unix", "unixs"):
        if not rest:
            raise ValueError(f"URL names no socket: {text}")
        return Url(scheme, path=rest)
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None or parts.hostname is None:
        raise ValueError(f'URL address does not have the form "host:port": {text}')
    if parts.path:
        raise ValueError(f"URL must not contain a path: {text}")
    return Url(scheme, parts.hostname, port)
