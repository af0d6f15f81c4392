"""Register an instance of a service while this process lives.

A registration heals itself: when its lease was lost (a long partition, a server restored from a backup) it is put again
under a new one. It goes when it is closed, when its client is closed, or `ttl` seconds after its process died.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from coord.errors import CallTimeout, ClosedError
from coord.model import DEFAULT
from coord.port import Declared
from coord.program import run_blocking
from coord.recipes.common.client import HasPrograms, client_deadline
from coord.recipes.common.durations import Seconds, Timeout, lifetime
from coord.recipes.registry.instance import LEAVING, Instance, new_instance


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
            await self._declared.settled(deadline=client_deadline(self._client, timeout))
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
            # Without the farewell nobody can tell this from an expired lease (see `coord.recipes.registry.brake`).
            await self._declared.withdraw(replace(self._instance, state=LEAVING).encode())


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
