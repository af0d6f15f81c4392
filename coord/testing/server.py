"""A server for tests that misbehaves on order: see `TroubledServer`."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from coord.server.embedded import EmbeddedServer
from coord.sync import Client, connect
from coord.testing.proxy import Link, Proxy


class TroubledServer:
    """A bundled server in this process, behind a link that can fail; a context manager.

    Its data are in a directory of its own, which goes when it is closed, so it survives `restart`. The URL stays.

    Example:
        >>> with TroubledServer() as server, connect(server.url) as client:
        ...     held = client.lock("stock").acquire()
        ...     server.expire(held.lease)
        ...     held.lost.wait(5)
        True
    """

    def __init__(self, **settings: Any) -> None:
        """Prepare; `start` starts.

        Args:
            settings: fields of `coord.server.settings.config.ServerConfig`.

        Raises:
            UsageError: a setting cannot work.
        """
        self._home = Path(tempfile.mkdtemp(prefix="coord-test-"))
        # One socket for all lives of the server, so that the link finds the next one.
        behind = f"unix://{self._home}/behind"
        urls = {"listen_client_urls": (behind,), "advertise_client_urls": (self.url,)}
        self._server = EmbeddedServer(self._home / "data", **{**urls, **settings})
        self._proxy: Proxy | None = None
        self._own: Client | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self._home}/s"

    def start(self) -> Self:
        """Start the server and the link to it.

        Raises:
            LocalServerError: the server could not start.
        """
        self._server.start()
        self._proxy = Proxy(f"{self._home}/s", f"{self._home}/behind")
        self._proxy.start()
        return self

    def close(self) -> None:
        """Stop everything and remove the data. Again is harmless."""
        if self._own is not None:
            self._own.close()
        self._server.stop()
        if self._proxy is not None:
            self._proxy.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def direct(self) -> Client:
        """A client that the link's troubles do not reach: to look at what is stored, and to make trouble."""
        if self._own is None:
            self._own = connect(f"unix://{self._home}/behind")
        return self._own

    def expire(self, lease: int) -> None:
        """End a lease as if its holder had not renewed it: its keys go.

        Raises:
            RequestRefused: there is no such lease.
        """
        self.direct.lease.revoke(lease)

    def compact(self, revision: int | None = None) -> int:
        """Forget the past up to `revision`, by default all of it; returns the revision.

        Raises:
            RequestRefused: it was compacted already, or is in the future.
        """
        if revision is None:
            revision = self.direct.range("\0").header.revision
        self.direct.compact(revision)
        return revision

    def restart(self) -> None:
        """Stop the server and start it again on its data; every connection breaks.

        Raises:
            LocalServerError: it could not start.
        """
        self._server.stop()
        self._server.start()

    @contextlib.contextmanager
    def partition(self) -> Iterator[None]:
        """Inside the block nothing passes between clients and the server; what was sent passes afterwards."""
        with self._linked(Link.CUT):
            yield

    @contextlib.contextmanager
    def lose_replies(self) -> Iterator[None]:
        """Inside the block requests are done, but no answer comes back; at its end every connection breaks."""
        with self._linked(Link.DEAF):
            yield
        self._link().break_connections()

    @contextlib.contextmanager
    def freeze(self) -> Iterator[None]:
        """Inside the block the server stands still, as a stopped process does.

        Its leases are lengthened by the pause if it is longer than a second, as after every pause of a server.

        Raises:
            RuntimeError: the server does not run.
        """
        thaw, frozen = threading.Event(), threading.Event()

        def stand_still() -> None:
            frozen.set()
            thaw.wait()

        run = self._server._run
        if run is None or run._loop is None:
            raise RuntimeError("the server does not run")
        run._loop.call_soon_threadsafe(stand_still)
        frozen.wait()
        try:
            yield
        finally:
            thaw.set()

    @contextlib.contextmanager
    def _linked(self, link: Link) -> Iterator[None]:
        self._link().become(link)
        try:
            yield
        finally:
            self._link().become(Link.WHOLE)

    def _link(self) -> Proxy:
        if self._proxy is None:
            raise RuntimeError("the server was not started")
        return self._proxy
