"""The asyncio client with its recipes, and the running loop's default one.

`coord` itself is the same for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

from coord import place
from coord.client.aio import AsyncClient
from coord.client.calls import Call
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.model import DEFAULT, Default
from coord.recipes.locks.lock import AsyncLock as Lock
from coord.recipes.ownership.held import AsyncHeld as Held
from coord.recipes.registry.instance import Instance, new_instance
from coord.recipes.registry.registration import AsyncRegistration as Registration
from coord.recipes.registry.registration import AsyncView as View
from coord.recipes.registry.registration import present

T = TypeVar("T")
Duration = float | timedelta
Timeout = Duration | Default | None


class Client(AsyncClient):
    """A client with every recipe. See `coord.client.aio.AsyncClient` for etcd's own calls.

    Args:
        url: where to connect, see `coord.place`; None for the environment or the local server.
        namespace: put before every key, of the recipes too.
        timeout: seconds that a call may take, retries included; None for ever.
        user: for servers with authentication on.
        password: of the user.
        tls: certificates for https endpoints.

    Raises:
        UsageError: the URL or an argument is malformed.
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | bytes = "",
        timeout: Timeout = 5.0,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._place = place.find(url)
        try:
            super().__init__(
                self._place.url,
                namespace=namespace,
                timeout=timeout,
                user=user,
                password=password,
                tls=tls,
                unreachable=None if self._place.local is None else self._place.revive_async,
            )
        except BaseException:
            self._place.leave()
            raise

    async def run(self, call: Call[T], timeout: Timeout = DEFAULT, *, endpoint: Endpoint | None = None) -> T:
        """Make a call that was described with `coord.client.calls`; see `AsyncClient.run`.

        Raises:
            ForkedError: the server stayed in the parent process.
            CoordError: the call failed.
        """
        self._place.check_process()
        return await super().run(call, timeout, endpoint=endpoint)

    async def close(self) -> None:
        """Close: end every call and watch, take registrations out, revoke the leases. Again is harmless."""
        await super().close()
        await asyncio.to_thread(self._place.leave)

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Duration = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> Lock:
        """A fair lock across processes: ``async with client.lock("stock") as held: ...``.

        See `coord.recipes.locks.lock.AsyncLock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return Lock(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def register(
        self,
        service: str,
        address: str,
        *,
        metadata: Mapping[str, str] | None = None,
        weight: int = 1,
        zone: str = "",
        ttl: Duration = 10,
        id: str | None = None,  # noqa: A002  # the name that the value has
        timeout: Timeout = DEFAULT,
    ) -> Registration:
        """Register an instance of a service and keep it registered; await it, or use it with ``async with``.

        See `coord.sync.Client.register`. It is being registered from this call on, awaited or not.

        Raises:
            UsageError: a field cannot be stored.
        """
        instance = new_instance(service, address, metadata=metadata, weight=weight, zone=zone, id=id)
        return Registration(self, instance, ttl, timeout)

    def discover(self, service: str, *, timeout: Timeout = DEFAULT) -> View:
        """The instances of a service, followed live; see `coord.sync.Client.discover`."""
        return View(self, service, timeout)

    async def instances(self, service: str = "", *, timeout: Timeout = DEFAULT) -> tuple[Instance, ...]:
        """Who is registered for a service now; see `coord.sync.Client.instances`."""
        return await present(self, service, timeout)


def connect(
    url: str | None = None,
    *,
    namespace: str | bytes = "",
    timeout: Timeout = 5.0,
    user: str | None = None,
    password: str | None = None,
    tls: Tls | None = None,
) -> Client:
    """A client; a context manager. It connects when it is first used. The arguments are those of `Client`.

    Example:
        >>> async def main() -> bool:
        ...     async with connect("memory://") as client:
        ...         async with client.lock("stock") as held:
        ...             return held.fence > 0
        >>> asyncio.run(main())
        True

    Raises:
        UsageError: the URL or an argument is malformed.
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """
    return Client(url, namespace=namespace, timeout=timeout, user=user, password=password, tls=tls)


_defaults: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = weakref.WeakKeyDictionary()


def default_client() -> Client:
    """The running loop's own client, made from the environment at first use.

    Its leases are revoked at interpreter exit; close it to give everything back at the end of the loop.

    Raises:
        RuntimeError: no event loop runs.
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """
    loop = asyncio.get_running_loop()
    found = _defaults.get(loop)
    if found is None or found.closed:
        found = _defaults[loop] = Client()
    return found


@contextlib.contextmanager
def use_as_default(client: Client) -> Iterator[Client]:
    """Inside the block the module-level functions use `client`, in the running loop.

    Raises:
        RuntimeError: no event loop runs.
    """
    loop = asyncio.get_running_loop()
    before = _defaults.get(loop)
    _defaults[loop] = client
    try:
        yield client
    finally:
        if before is None:
            del _defaults[loop]
        else:
            _defaults[loop] = before


def lock(
    name: str | bytes,
    *,
    ttl: Duration = 10,
    timeout: Timeout = DEFAULT,
    on_lost: Callable[[Held], object] | None = None,
) -> Lock:
    """A lock of the default client: ``async with coord.aio.lock("/my-lock") as held: ...``.

    Raises:
        NotConfigured: no endpoint is given and a local server is not allowed here.
        UsageError: the name is empty, or a duration is none.
    """
    return default_client().lock(name, ttl=ttl, timeout=timeout, on_lost=on_lost)


def register(
    service: str,
    address: str,
    *,
    metadata: Mapping[str, str] | None = None,
    weight: int = 1,
    zone: str = "",
    ttl: Duration = 10,
    id: str | None = None,  # noqa: A002  # the name that the value has
    timeout: Timeout = DEFAULT,
) -> Registration:
    """Register an instance with the default client; see `Client.register`.

    Raises:
        NotConfigured: no endpoint is given and a local server is not allowed here.
        UsageError: a field cannot be stored.
    """
    return default_client().register(
        service, address, metadata=metadata, weight=weight, zone=zone, ttl=ttl, id=id, timeout=timeout
    )


def discover(service: str, *, timeout: Timeout = DEFAULT) -> View:
    """The instances of a service, followed live by the default client; see `Client.discover`.

    Raises:
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """
    return default_client().discover(service, timeout=timeout)
