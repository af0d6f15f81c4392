"""Looking at an address before gRPC takes it, and counting who is connected to it.

gRPC says only "failed to bind" when an address is taken, and takes a Unix socket away from a server that lives on it;
so both are looked at first. It does not tell how many clients are connected either; the kernel does.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from coord.server.settings.urls import Url

_TCP_ESTABLISHED = "01"
_UNIX_CONNECTED = "03"


class ListenError(OSError):
    """An address cannot be listened on; the text is etcd's."""


def claim(url: Url) -> None:
    """Make sure that `url` can be bound; a socket file that nobody listens on any more is removed.

    Raises:
        ListenError: it cannot.
    """
    if url.is_unix:
        _claim_path(url.path)
    elif url.port:
        _claim_port(url.host, url.port)


def _claim_port(host: str, port: int) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"listen tcp {host}:{port}: {error.strerror}") from error
    for family, kind, protocol, _, address in found:
        try:
            probe = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6:
                continue
            raise
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                # "localhost" has an IPv6 address by name even where the machine has none.
                if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                    continue
                shown = Url("http", str(address[0]), port).grpc_address
                raise ListenError(f"listen tcp {shown}: bind: {(error.strerror or '').lower()}") from error


def _claim_path(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"listen unix {path}: bind: the file exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # A full backlog or a slow answer means that somebody listens.
            raise ListenError(f"listen unix {path}: bind: address already in use") from error
    raise ListenError(f"listen unix {path}: bind: address already in use")


def connections(urls: list[Url]) -> int:
    """Connections that clients have open to these addresses, as the kernel counts them (Linux)."""
    ports = {url.port for url in urls if not url.is_unix}
    paths = {url.path for url in urls if url.is_unix}
    return (_tcp(ports) if ports else 0) + (_unix(paths) if paths else 0)


def _tcp(ports: set[int]) -> int:
    count = 0
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in _lines(table):
            fields = line.split()
            if len(fields) > 3 and fields[3] == _TCP_ESTABLISHED and int(fields[1].rpartition(":")[2], 16) in ports:
                count += 1
    return count


def _unix(paths: set[str]) -> int:
    """Accepted sockets carry the path of the socket that accepted them; clients' ends have none."""
    count = 0
    for line in _lines("/proc/self/net/unix"):
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[5] == _UNIX_CONNECTED and fields[7].rstrip("\n") in paths:
            count += 1
    return count


def _lines(table: str) -> list[str]:
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            return file.readlines()[1:]
    except FileNotFoundError:
        return []
