"""The asyncio client with its recipes, and the running loop's default one.

`coord` itself is the same for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from coord import place
from coord.client.aio import AsyncClient
from coord.client.connection.tls import Tls
from coord.defaults import of_default
from coord.model import DEFAULT, Default
from coord.recipes.aio import AsyncRecipes
from coord.recipes.locks.synchronized import async_synchronized as _synchronized
from coord.recipes.ownership.held import AsyncHeld

P = ParamSpec("P")
R = TypeVar("R")
Duration = float | timedelta
Timeout = Duration | Default | None


class Client(AsyncClient, AsyncRecipes):
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

    def _check_process(self) -> None:
        self._place.check_process()

    async def close(self) -> None:
        """Close: end every call and watch, take registrations out, revoke the leases. Again is harmless."""
        await super().close()
        await asyncio.to_thread(self._place.leave)


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


# All of these raise NotConfigured if no endpoint is given and a local server is not allowed here.
lock = of_default(Client.lock, default_client)
rlock = of_default(Client.rlock, default_client)
rwlock = of_default(Client.rwlock, default_client)
locks = of_default(Client.locks, default_client)
semaphore = of_default(Client.semaphore, default_client)
barrier = of_default(Client.barrier, default_client)
latch = of_default(Client.latch, default_client)
double_barrier = of_default(Client.double_barrier, default_client)
election = of_default(Client.election, default_client)
queue = of_default(Client.queue, default_client)
priority_queue = of_default(Client.priority_queue, default_client)
delay_queue = of_default(Client.delay_queue, default_client)
gated_queue = of_default(Client.gated_queue, default_client)
register = of_default(Client.register, default_client)
discover = of_default(Client.discover, default_client)
config = of_default(Client.config, default_client)


def synchronized(
    name: str | bytes,
    *,
    ttl: Duration = 10,
    timeout: Timeout = DEFAULT,
    on_lost: Callable[[AsyncHeld], object] | None = None,
    guard: str | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Have a coroutine function run under a lock of the default client, which is asked for when it is called.

    See `coord.recipes.locks.methods.LockMethods.synchronized`.

    Raises:
        UsageError: the name is empty or cannot be made of the arguments, or a duration is none.
    """
    return _synchronized(default_client, name, ttl=ttl, timeout=timeout, on_lost=on_lost, guard=guard)
