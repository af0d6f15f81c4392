"""Where to connect: a URL, the environment, or the per-user local server. The one place that knows client and server.

============================  ==========================================================================
URL                           what it is
============================  ==========================================================================
``http(s)://host:port``       one endpoint of a cluster; comma lists and ``etcd://a:2379,b:2379`` likewise
``unix:///path``              a socket
``memory://``                 a throw-away server in this process
``embedded://PATH``           a durable server in this process (``embedded://./data``, ``embedded:///var/x``)
none                          `COORD_ENDPOINTS`, else `ETCDCTL_ENDPOINTS`, else the local server
============================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coord.errors import ForkedError, UsageError
from coord.local import START_TIMEOUT, LocalServer, check_allowed, notice

if TYPE_CHECKING:
    from coord.server.embedded import EmbeddedServer

_VARIABLES = ("COORD_ENDPOINTS", "ETCDCTL_ENDPOINTS")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client connects, and what keeps that place alive.

    Attributes:
        url: endpoints for the client.
        local: the local server behind it, started again whenever it cannot be reached; None for other places.
        embedded: a server in this process that the client stops when it is closed; None for other places.
        pid: the process that found it.
    """

    url: str
    local: LocalServer | None = None
    embedded: EmbeddedServer | None = None
    pid: int = 0

    @property
    def revive(self) -> Callable[[float | None], None] | None:
        """What a blocking connection calls when nobody answers."""
        return None if self.local is None else self._ensure

    def _ensure(self, left: float | None) -> None:
        if self.local is not None:
            self.local.ensure(START_TIMEOUT if left is None else min(left, START_TIMEOUT))

    async def revive_async(self, left: float | None) -> None:
        """What an asyncio connection awaits when nobody answers."""
        await asyncio.to_thread(self._ensure, left)

    def check_process(self) -> None:
        """Do nothing unless this is a forked child whose server stayed in the parent.

        Raises:
            ForkedError: it is.
        """
        if self.embedded is not None and self.pid != os.getpid():
            raise ForkedError("the embedded server stayed in the parent process; connect anew in the child")

    def leave(self) -> None:
        """The client was closed: stop what was started for it alone."""
        if self.embedded is not None:
            self.embedded.stop()


def find(url: str | None = None) -> Place:
    """The place that `url`, or without one the environment, names.

    A server in this process is started here; the local server only when a connection is made.

    Raises:
        UsageError: the URL is malformed.
        NotConfigured: no endpoint is given and a local server is not allowed here.
        LocalServerError: an embedded server could not start.
    """
    if url is None:
        url = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), None)
    if url is None:
        check_allowed()
        local = LocalServer()
        notice(local.directory)
        return Place(local.url, local=local)
    if not isinstance(url, str):
        raise UsageError(f"a URL is text, not {url!r}")
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        if rest.strip("/"):
            raise UsageError(f"memory:// takes no path, and nothing of it is kept: {url!r}")
        return _embed(None)
    if scheme == "embedded":
        if not rest:
            raise UsageError("embedded:// needs a path, such as embedded://./data")
        return _embed(rest)
    return Place(url)


def _embed(path: str | None) -> Place:
    from coord.server.embedded import EmbeddedServer

    server = EmbeddedServer(path)
    return Place(server.start(), embedded=server, pid=os.getpid())
