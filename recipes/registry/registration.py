"""Register an instance of a service while this process lives; see who is registered, now and from now on.

A registration heals itself: when its lease was lost (a long partition, a server restored from a backup) it is put again
under a new one. It goes when it is closed, when its client is closed, or `ttl` seconds after its process died.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from coord.errors import CallTimeout, ClosedError, UsageError
from coord.model import DEFAULT, Default
from coord.port import Declared, Port
from coord.program import run_blocking
from coord.recipes.common.durations import Seconds, Timeout, call_deadline, lifetime
from coord.recipes.registry.instance import Instance, new_instance, service_prefix
from coord.recipes.registry.roster import NOBODY, Change, Follower, differences

NO_WAIT: Final = 1.0  # seconds


class Background(Protocol):
    """What `coord.client.ports.background` gives for a program it runs."""

    def stop(self) -> Any:
        """Have it end; to be awaited on asyncio."""
        ...


class HasPrograms(Protocol):
    """A client, as far as this recipe is concerned."""

    @property
    def port(self) -> Port:
        """What its programs run on."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take, None for ever."""
        ...

    def background(self, program: Any, *, name: str) -> Background:
        """Run a long-lived program."""
        ...


class RegistrationBase:
    """What both faces are: the keeper keeps the key in place, from the moment this object is made."""

    def __init__(self, client: HasPrograms, instance: Instance, ttl: Seconds) -> None:
        self._client = client
        self._port = client.port
        self._instance = instance
        self._closed = False
        self._updating = threading.Lock()
        self._declared: Declared = self._port.declare(instance.key, instance.encode(), ttl=lifetime(ttl))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "kept"
        return f"<{type(self).__name__} {self._instance.service!r} {self._instance.id} {state}>"

    @property
    def instance(self) -> Instance:
        """What is registered."""
        return self._instance

    async def _settled(self, timeout: Timeout) -> None:
        try:
            await self._declared.settled(deadline=_deadline(self._client, timeout))
        except CallTimeout as late:
            raise CallTimeout(f"{self._instance.service!r} was not registered in time") from late.__cause__

    async def _update(
        self,
        address: str | None,
        metadata: Mapping[str, str] | None,
        weight: int | None,
        zone: str | None,
        timeout: Timeout,
    ) -> Instance:
        with self._updating:
            if self._closed:
                raise ClosedError("the registration was closed")
            known = self._instance
            changed = new_instance(
                known.service,
                known.address if address is None else address,
                metadata=known.metadata if metadata is None else metadata,
                weight=known.weight if weight is None else weight,
                zone=known.zone if zone is None else zone,
                id=known.id,
            )
            self._declared.update(changed.encode())
            self._instance = changed
        await self._settled(timeout)
        return changed

    async def _withdraw(self) -> None:
        if not self._closed:
            self._closed = True
            await self._declared.withdraw()


class Registration(RegistrationBase):
    """A registered instance of blocking code; leaving its block takes it out. It stays if it is only dropped."""

    def settle(self, *, timeout: Timeout = DEFAULT) -> Self:
        """Wait until it stands in the store under a live lease.

        Raises:
            CallTimeout: not in time; it goes on being tried.
            RequestRefused: the server refuses it for good.
            ClosedError: it, or the client, was closed.
        """
        run_blocking(self._settled(timeout))
        return self

    def update(
        self,
        *,
        address: str | None = None,
        metadata: Mapping[str, str] | None = None,
        weight: int | None = None,
        zone: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Instance:
        """Replace what it says of itself.

        Raises:
            UsageError: a field cannot be stored.
            CallTimeout: it was not stored in time; it goes on being tried.
            RequestRefused, ClosedError.
        """
        return run_blocking(self._update(address, metadata, weight, zone, timeout))

    def close(self) -> None:
        """Take it out; bounded, and what cannot be done now is done by the keeper. Again is harmless."""
        run_blocking(self._withdraw())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRegistration(RegistrationBase):
    """A registered instance of asyncio code: ``async with``, or awaited and closed by hand."""

    def __init__(self, client: HasPrograms, instance: Instance, ttl: Seconds, timeout: Timeout) -> None:
        super().__init__(client, instance, ttl)
        self._timeout = timeout

    async def settle(self, *, timeout: Timeout = DEFAULT) -> Self:
        """Wait until it stands in the store; see `Registration.settle`."""
        await self._settled(timeout)
        return self

    async def update(
        self,
        *,
        address: str | None = None,
        metadata: Mapping[str, str] | None = None,
        weight: int | None = None,
        zone: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Instance:
        """Replace what it says of itself; see `Registration.update`."""
        return await self._update(address, metadata, weight, zone, timeout)

    async def close(self) -> None:
        """Take it out; see `Registration.close`."""
        await self._withdraw()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.settle(timeout=self._timeout).__await__()

    async def __aenter__(self) -> Self:
        try:
            return await self.settle(timeout=self._timeout)
        except BaseException:
            await self.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Following:
    """What an open view follows with: the state, and the program that keeps it up. Any thread may look."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._listeners: dict[object, Callable[[], None]] = {}
        self.roster = follower.roster
        self.closed = False  # by the view, so that whoever iterates comes to the end
        self.failure: Exception | None = None

    async def run(self, port: Port) -> None:
        """The program, which goes on after the first reading.

        Raises:
            RequestRefused: the service may not be read any more.
            ClosedError: it was stopped, or the client was closed.
        """
        try:
            with closing(self._follower) as follower:
                follower.move(port)
                while True:
                    await follower.next(None)
                    self.tell()
        except Exception as error:
            self.failure = error
            raise
        finally:
            # Also after a cancellation: nobody may take for the present what is not followed any more.
            self.failure = self.failure or ClosedError("the view is not followed any more")
            self.tell()

    def close(self) -> None:
        """The view was closed: whoever waits comes to the end."""
        self.closed = True
        self._follower.close()
        self.tell()

    def check(self) -> None:
        """Do nothing while the program runs.

        Raises:
            CoordError: what ended it.
        """
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change; returns a function that takes it back."""
        token = object()
        self._listeners[token] = callback
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)

    def tell(self) -> None:
        """There is something to look at."""
        for callback in tuple(self._listeners.values()):
            callback()


class _ViewBase:
    """What both views are: a background program while they are open."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout) -> None:
        service_prefix(service)
        self._client = client
        self._service = service
        self._timeout = timeout
        self._following: _Following | None = None
        self._running: Background | None = None

    def __repr__(self) -> str:
        following = self._following
        state = "closed" if following is None else f"instances={len(following.roster.instances)}"
        return f"<{type(self).__name__} {self._service!r} {state}>"

    @property
    def service(self) -> str:
        """Name of the service, empty for all of them."""
        return self._service

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Who is registered, oldest first; kept up to date in the background while the view is open.

        While the server cannot be reached this is what was seen last.

        Raises:
            ClosedError: the view is not open, or its client was closed.
            RequestRefused: the service may not be read any more.
        """
        if self._following is None:
            raise ClosedError("the view is not open; use it as a context manager")
        self._following.check()
        return self._following.roster.instances

    async def _open(self) -> None:
        """Read everybody in the caller's time, then follow in the background."""
        if self._following is not None:
            raise UsageError("the view is open already")
        follower = Follower(self._client.port, self._service)
        following = _Following(follower)
        try:
            await follower.next(_deadline(self._client, self._timeout))
            self._running = self._client.background(following.run, name=f"discover-{self._service}")
        except CallTimeout as late:
            following.close()
            raise CallTimeout(f"the instances of {self._service!r} could not be read in time") from late.__cause__
        except BaseException:
            following.close()
            raise
        self._following = following

    def _stop(self) -> Background | None:
        running, self._running = self._running, None
        following, self._following = self._following, None
        if following is not None:
            following.close()
        return running


class View(_ViewBase):
    """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout = DEFAULT) -> None:
        """Describe it; nothing is read yet. `timeout` bounds the first reading when it is opened.

        Raises:
            UsageError: the name is no text.
        """
        super().__init__(client, service, timeout)

    def changes(self) -> Iterator[Change]:
        """Everybody who is there as JOINED, then every change.

        In an open view `instances` shows a change at the latest when this yields it, and the iteration ends with the
        view. Without one it goes on for ever. Who looks rarely sees what changed since the last look, and nothing of
        what came and went in between.

        Raises:
            RequestRefused: the service may not be read.
            ClosedError: the client was closed.
        """
        following = self._following
        if following is None:
            with closing(Follower(self._client.port, self._service)) as follower:
                while True:
                    yield from run_blocking(follower.next(None))
        news = threading.Event()
        forget = following.listen(news.set)
        try:
            looked = NOBODY
            while not following.closed:
                news.clear()
                following.check()
                before, looked = looked, following.roster.seen
                yield from differences(before, looked)
                news.wait()
        finally:
            forget()

    def __enter__(self) -> Self:
        run_blocking(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following. Again is harmless."""
        running = self._stop()
        if running is not None:
            running.stop()


class AsyncView(_ViewBase):
    """The instances of a service on asyncio; see `View`."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout = DEFAULT) -> None:
        """Describe it; see `View`."""
        super().__init__(client, service, timeout)

    async def changes(self) -> AsyncIterator[Change]:
        """Everybody who is there as JOINED, then every change; see `View.changes`."""
        following = self._following
        if following is None:
            with closing(Follower(self._client.port, self._service)) as follower:
                while True:
                    for change in await follower.next(None):
                        yield change
        news = asyncio.Event()
        forget = following.listen(news.set)
        try:
            looked = NOBODY
            while not following.closed:
                news.clear()
                following.check()
                before, looked = looked, following.roster.seen
                for change in differences(before, looked):
                    yield change
                await news.wait()
        finally:
            forget()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following; see `View.close`."""
        running = self._stop()
        if running is not None:
            await running.stop()


async def present(client: HasPrograms, service: str, timeout: Timeout) -> tuple[Instance, ...]:
    """Program: who is registered for a service now, for all services if it is empty; oldest first.

    Raises:
        CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
    """
    with closing(Follower(client.port, service)) as follower:
        await follower.read(_deadline(client, timeout))
        return follower.roster.instances


def _deadline(client: HasPrograms, timeout: Timeout) -> float | None:
    """When a call gives up. Without waiting (0) one request may still take its time, as in every call of a client."""
    chosen = client.timeout if isinstance(timeout, Default) else timeout
    return call_deadline(client.port, NO_WAIT if chosen == 0 else chosen)
