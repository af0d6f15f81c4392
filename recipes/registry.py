"""Register an instance of a service while this process lives; see who is registered, now and from now on.

A registration heals itself: when its lease was lost (a long partition, a server restored from a backup) it is put again
under a new one. It goes when it is closed, when its client is closed, or `ttl` seconds after its process died.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

from coord.errors import CallTimeout, ClosedError, CoordError
from coord.model import DEFAULT
from coord.port import Declared, Port
from coord.program import run_blocking
from coord.recipes.durations import Seconds, Timeout, call_deadline, seconds
from coord.recipes.instance import Instance, new_instance
from coord.recipes.roster import Change, Follower


class Background(Protocol):
    """What `coord.client.background` gives for a program it runs."""

    def stop(self) -> Any:
        """Have it end; to be awaited on asyncio."""
        ...


class HasPrograms(Protocol):
    """A client, as far as this recipe is concerned."""

    @property
    def port(self) -> Port:
        """What its programs run on."""
        ...

    def background(self, program: Any, *, name: str) -> Background:
        """Run a long-lived program."""
        ...


class _RegistrationBase:
    """What both faces are: the keeper keeps the key in place, from the moment this object is made."""

    def __init__(self, client: HasPrograms, instance: Instance, ttl: Seconds) -> None:
        self._port = client.port
        self._instance = instance
        self._closed = False
        self._declared: Declared = self._port.declare(instance.key, instance.encode(), ttl=seconds(ttl, "ttl"))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "kept"
        return f"<{type(self).__name__} {self._instance.service!r} {self._instance.id} {state}>"

    @property
    def instance(self) -> Instance:
        """What is registered."""
        return self._instance

    async def _settled(self, timeout: Timeout) -> None:
        await self._declared.settled(deadline=call_deadline(self._port, timeout))

    async def _update(self, changes: dict[str, Any], timeout: Timeout) -> Instance:
        if self._closed:
            raise ClosedError("the registration was closed")
        known = {name: value for name, value in changes.items() if value is not None}
        checked = replace(self._instance, **known)
        new_instance(checked.service, checked.address, metadata=checked.metadata, weight=checked.weight)
        self._instance = checked
        self._declared.update(checked.encode())
        await self._settled(timeout)
        return checked

    async def _withdraw(self) -> None:
        if not self._closed:
            self._closed = True
            await self._declared.withdraw()


class Registration(_RegistrationBase):
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
        changes = {"address": address, "metadata": metadata, "weight": weight, "zone": zone}
        return run_blocking(self._update(changes, timeout))

    def close(self) -> None:
        """Take it out; bounded, and what cannot be done now is done by the keeper. Again is harmless."""
        run_blocking(self._withdraw())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRegistration(_RegistrationBase):
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
        changes = {"address": address, "metadata": metadata, "weight": weight, "zone": zone}
        return await self._update(changes, timeout)

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


class _ViewBase:
    """What both views are: the state as the background program last saw it."""

    def __init__(self, client: HasPrograms, service: str) -> None:
        self._client = client
        self._service = service
        self._instances: tuple[Instance, ...] = ()
        self._running: Background | None = None
        self._failure: CoordError | None = None  # what ended the background program

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._service!r} instances={len(self._instances)}>"

    @property
    def service(self) -> str:
        """Name of the service."""
        return self._service

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Who is registered, oldest first; kept up to date in the background while the view is open.

        Raises:
            ClosedError: the view is not open.
            CoordError: what ended the background program.
        """
        if self._running is None:
            raise ClosedError("the view is not open; use it as a context manager")
        if self._failure is not None:
            raise self._failure
        return self._instances

    def _loaded(self) -> None:
        """The first state is there, or never will be."""

    def _check_loaded(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _follow(self, port: Port) -> None:
        try:
            with closing(Follower(port, self._service)) as follower:
                while True:
                    await follower.next(None)
                    self._instances = follower.roster.instances
                    self._loaded()
        except CoordError as error:
            self._failure = error
            raise
        finally:
            # Whoever waits for the first state must learn that it never comes.
            self._loaded()

    def _start(self) -> None:
        self._running = self._client.background(self._follow, name=f"discover-{self._service}")


class View(_ViewBase):
    """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout = DEFAULT) -> None:
        super().__init__(client, service)
        self._timeout = timeout
        self._ready = threading.Event()

    def changes(self) -> Iterator[Change]:
        """Everybody who is there as JOINED, then every change, for ever. Needs no open view.

        Raises:
            RequestRefused, HistoryLost, ClosedError.
        """
        with closing(Follower(self._client.port, self._service)) as follower:
            while True:
                yield from run_blocking(follower.next(None))

    def _loaded(self) -> None:
        self._ready.set()

    def __enter__(self) -> Self:
        limit = call_deadline(self._client.port, self._timeout)
        self._start()
        if not self._ready.wait(None if limit is None else max(0.0, limit - self._client.port.now())):
            self.close()
            raise CallTimeout(f"the instances of {self._service!r} could not be read in time")
        self._check_loaded()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following. Again is harmless."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()


class AsyncView(_ViewBase):
    """The instances of a service on asyncio; see `View`."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout = DEFAULT) -> None:
        super().__init__(client, service)
        self._timeout = timeout
        self._ready = asyncio.Event()

    async def changes(self) -> AsyncIterator[Change]:
        """Everybody who is there as JOINED, then every change, for ever; see `View.changes`."""
        with closing(Follower(self._client.port, self._service)) as follower:
            while True:
                for change in await follower.next(None):
                    yield change

    def _loaded(self) -> None:
        self._ready.set()

    async def __aenter__(self) -> Self:
        limit = call_deadline(self._client.port, self._timeout)
        self._start()
        try:
            await asyncio.wait_for(
                self._ready.wait(), None if limit is None else max(0.0, limit - self._client.port.now())
            )
        except TimeoutError:
            await self.close()
            raise CallTimeout(f"the instances of {self._service!r} could not be read in time") from None
        except BaseException:
            await self.close()
            raise
        self._check_loaded()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following; see `View.close`."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()


async def present(port: Port, service: str, timeout: Timeout) -> tuple[Instance, ...]:
    """Program: who is registered for a service now, for all services if it is empty; oldest first.

    Raises:
        CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
    """
    with closing(Follower(port, service)) as follower:
        await follower.read(call_deadline(port, timeout))
        return follower.roster.instances
