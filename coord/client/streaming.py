"""The streaming half of both clients: watch, session, background programs, and the port that carries recipes.

Nothing here exists until it is used: no thread, no task, no channel.
"""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Final

from coord.client.base import ClientBase
from coord.client.connection.aio import AsyncConnection
from coord.client.connection.blocking import BlockingConnection
from coord.client.connection.retry import Timeout, seconds
from coord.client.keeper.session import Session
from coord.client.leases import whole_seconds
from coord.client.ports.aio import AsyncPort
from coord.client.ports.background import Program, TaskHandle, TaskPrograms, ThreadHandle, ThreadPrograms
from coord.client.ports.blocking import BlockingPort
from coord.client.watch.faces import AsyncWatch, OnCompacted, Watch, watch_spec
from coord.model import DEFAULT
from coord.program import run_blocking

SESSION_TTL: Final = 10.0
"""Seconds after which others take it that a client has died."""

# Two threads may ask a client for its port for the first time; two ports would be two keepers.
_making = threading.Lock()


def _after_fork() -> None:
    global _making
    _making = threading.Lock()  # a thread that is not in the child may have held the other


os.register_at_fork(after_in_child=_after_fork)


class BlockingStreaming(ClientBase):
    """What `BlockingClient` has beside its calls."""

    _connection: BlockingConnection
    _port: BlockingPort | None = None
    _programs: ThreadPrograms | None = None

    @property
    def port(self) -> BlockingPort:
        """What recipes run on; see `coord.port.Port`.

        Raises:
            ForkedError: the server stayed in the parent process.
        """
        self._check_process()
        return self._made_port()

    def _made_port(self) -> BlockingPort:
        if self._port is None:
            with _making:
                if self._port is None:
                    self._port = BlockingPort(self._connection, namespace=self._namespace)
        return self._port

    def watch(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        range_end: str | bytes | None = None,
        from_revision: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        on_compacted: OnCompacted = "resync",
        progress: bool = False,
        timeout: float | timedelta | None = None,
    ) -> Watch:
        """Watch a key or a range: ``for batch in client.watch("cfg/", prefix=True): …``.

        Args:
            key: the key, or the start of the range.
            prefix: every key that begins with `key`.
            range_end: every key from `key` up to, but not including, this one.
            from_revision: the first revision wanted; 0 for what happens from now on. "Now" is when the server has the
                watch, which ``with client.watch(…)`` waits for.
            previous: deliver each key as it was before, too.
            puts: deliver puts.
            deletes: deliver deletions.
            on_compacted: when what follows was compacted away, "resync" delivers the whole range at one revision in a
                batch with ``resync=True`` and goes on from there; "raise" ends the watch with `Compacted`.
            progress: deliver batches without events as well, each saying how far the watch has come.
            timeout: seconds that each wait may take; None waits for ever.

        Raises:
            UsageError: the arguments name no range, no event, or no revision.
            ClosedError: the client was closed.
        """
        spec = watch_spec(
            key,
            prefix=prefix,
            range_end=range_end,
            from_revision=from_revision,
            previous=previous,
            puts=puts,
            deletes=deletes,
            progress=progress,
        )
        return Watch(self.port, spec, on_compacted=on_compacted, timeout=timeout, opening=self._timeout)

    def session(self, ttl: float | timedelta = SESSION_TTL, *, timeout: Timeout = DEFAULT) -> Session:
        """A lease that is kept alive until the client closes, shared by all who ask for the same time to live.

        Keys put with ``lease=session.lease`` live as long as this client does.

        Raises:
            UsageError: `ttl` is no duration, or none that a lease can have.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        port = self.port
        wanted = seconds(timeout, self._timeout)
        deadline = None if wanted is None else port.now() + wanted
        return run_blocking(port.session(whole_seconds(ttl), deadline=deadline))

    def background(self, program: Program, *, name: str) -> ThreadHandle:
        """Run a long-lived program over the port in a thread of its own, until it ends or the client closes.

        Raises:
            ClosedError: the client was closed.
        """
        port = self.port
        with _making:
            if self._programs is None:
                self._programs = ThreadPrograms(port)
        return self._programs.start(program, name=name)

    def _close_streaming(self) -> None:
        """Stop the programs, then everything that waits, then give up the leases; bounded."""
        if self._programs is not None:
            self._programs.close()
        self._made_port().close()


class AsyncStreaming(ClientBase):
    """What `AsyncClient` has beside its calls."""

    _connection: AsyncConnection
    _port: AsyncPort | None = None
    _programs: TaskPrograms | None = None

    @property
    def port(self) -> AsyncPort:
        """What recipes run on; see `coord.port.Port`.

        Raises:
            ForkedError: the server stayed in the parent process.
        """
        self._check_process()
        return self._made_port()

    def _made_port(self) -> AsyncPort:
        if self._port is None:
            self._port = AsyncPort(self._connection, namespace=self._namespace)
        return self._port

    def watch(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        range_end: str | bytes | None = None,
        from_revision: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        on_compacted: OnCompacted = "resync",
        progress: bool = False,
        timeout: float | timedelta | None = None,
    ) -> AsyncWatch:
        """Watch a key or a range: ``async for batch in client.watch("cfg/", prefix=True): …``.

        See `BlockingClient.watch` for the arguments.

        Raises:
            UsageError: the arguments name no range, no event, or no revision.
            ClosedError: the client was closed.
        """
        spec = watch_spec(
            key,
            prefix=prefix,
            range_end=range_end,
            from_revision=from_revision,
            previous=previous,
            puts=puts,
            deletes=deletes,
            progress=progress,
        )
        return AsyncWatch(self.port, spec, on_compacted=on_compacted, timeout=timeout, opening=self._timeout)

    async def session(self, ttl: float | timedelta = SESSION_TTL, *, timeout: Timeout = DEFAULT) -> Session:
        """A lease that is kept alive until the client closes; see `BlockingClient.session`.

        Raises:
            UsageError: `ttl` is no duration, or none that a lease can have.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        port = self.port
        wanted = seconds(timeout, self._timeout)
        deadline = None if wanted is None else port.now() + wanted
        return await port.session(whole_seconds(ttl), deadline=deadline)

    def background(self, program: Program, *, name: str) -> TaskHandle:
        """Run a long-lived program over the port in a task of its own, until it ends or the client closes.

        Raises:
            ClosedError: the client was closed.
        """
        if self._programs is None:
            self._programs = TaskPrograms(self.port)
        return self._programs.start(program, name=name)

    async def _close_streaming(self) -> None:
        """Stop the programs, then everything that waits, then give up the leases; bounded."""
        if self._programs is not None:
            await self._programs.close()
        await self._made_port().close()
