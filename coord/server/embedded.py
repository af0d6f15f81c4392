"""A server inside this process, on a loop in a thread of its own: for ``memory://`` and ``embedded://PATH``.

It is reached like any other server, through a Unix socket in a private directory, so that what works here works on a
real cluster. Nothing of it is left after `stop`: no thread, no socket, no file but the data directory it was given.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

from coord.errors import ForkedError, LocalServerError
from coord.server.server import Server
from coord.server.settings.config import ServerConfig

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class EmbeddedServer:
    """One server in this process; a context manager. May be used from any thread.

    A forked child cannot use its parent's server: the thread stayed in the parent.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        """Prepare a server; `start` starts it.

        Args:
            path: data directory, made if it does not exist; None keeps everything in memory.
            settings: further fields of `ServerConfig`.

        Raises:
            UsageError: a setting cannot work.
        """
        self._path = None if path is None else Path(path).absolute()
        self._settings = settings
        self._token = secrets.token_hex(8)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._config("unix:///checked").validate()

    @property
    def url(self) -> str:
        """Where clients connect.

        Raises:
            LocalServerError: the server does not run.
        """
        if self._run is None:
            raise LocalServerError("the embedded server does not run")
        return self._run.url

    @property
    def running(self) -> bool:
        """True between `start` and `stop`, unless the server failed."""
        return self._run is not None and self._run.alive

    def start(self) -> str:
        """Start unless it runs; returns the URL once clients are served.

        Raises:
            LocalServerError: the server could not start.
            ForkedError: this process is a fork of the one that made it.
        """
        self._check_process()
        with self._lock:
            if self._run is None:
                home = tempfile.mkdtemp(prefix="coord-")
                run = _Run(self._config(f"unix://{home}/s"), home, memory=self._path is None)
                # Runs at interpreter exit too, while threads can still be joined.
                finalizer = weakref.finalize(self, run.stop)
                try:
                    run.start()
                except BaseException:
                    finalizer()
                    raise
                self._run = run
            return self._run.url

    def stop(self) -> None:
        """Stop, and wait until nothing is left; may be called twice. In a forked child nothing is to be done."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.stop()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self, url: str) -> ServerConfig:
        fields: dict[str, Any] = {
            "data_dir": "" if self._path is None else str(self._path),
            "listen_client_urls": (url,),
            "advertise_client_urls": (url,),
            "name": "embedded",
            # Ids are made of it: a client must be able to tell that the next throw-away server is not this one.
            "initial_cluster_token": self._token,
            **self._settings,
        }
        return ServerConfig(**fields)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError("the embedded server stayed in the parent process; make a new one in the child")


class _Run:
    """One life of the server: a thread, from `start` to `stop`. Does not know the object that owns it."""

    def __init__(self, config: ServerConfig, home: str, *, memory: bool) -> None:
        self.url = config.listen_client_urls[0]
        self._config = config
        self._home = home
        self._memory = memory
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        # A daemon: `stop` runs at interpreter exit, but threads that are not daemons are joined before that.
        self._thread = threading.Thread(target=self._main, name="coord-embedded-server", daemon=True)

    @property
    def alive(self) -> bool:
        """True while the server serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Run the thread and wait until the server serves.

        Raises:
            LocalServerError: it could not start.
        """
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise LocalServerError(f"the embedded server did not start within {_START_SECONDS:g} s")
        if self._failure is not None:
            raise LocalServerError(f"the embedded server could not start: {self._failure}") from self._failure

    def stop(self) -> None:
        """Stop the server, join the thread, remove the socket's directory.

        Raises:
            LocalServerError: the thread did not end.
        """
        if os.getpid() != self._pid:
            return
        loop, server = self._loop, self._server
        if loop is not None and server is not None and self._thread.is_alive():
            try:
                loop.call_soon_threadsafe(server.request_stop)
            except RuntimeError:
                # The loop was closed between the two lines: the server failed and is gone.
                self._loop = None
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
            if self._thread.is_alive():
                raise LocalServerError(f"the embedded server did not stop within {_STOP_SECONDS:g} s")
        shutil.rmtree(self._home, ignore_errors=True)

    def _main(self) -> None:
        try:
            asyncio.run(self._life())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in `start`
            self._failure = error
        finally:
            self._ready.set()

    async def _life(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = self._server = Server(self._config, memory=self._memory)
        try:
            await server.start()
            self._ready.set()
            await server.wait_stopping()
        finally:
            await server.stop()
