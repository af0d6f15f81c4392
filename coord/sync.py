"""The blocking client with its recipes, and the process's default one.

`coord.aio` is the same for asyncio.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ParamSpec, TypeVar

from coord import place
from coord.client.blocking import BlockingClient
from coord.client.connection.tls import Tls
from coord.defaults import of_default
from coord.model import DEFAULT, Default
from coord.recipes.blocking import BlockingRecipes
from coord.recipes.locks.synchronized import synchronized as _synchronized
from coord.recipes.ownership.held import Held

P = ParamSpec("P")
R = TypeVar("R")
Duration = float | timedelta
Timeout = Duration | Default | None


class Client(BlockingClient, BlockingRecipes):
    """A client with every recipe. See `coord.client.blocking.BlockingClient` for etcd's own calls.

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
                unreachable=self._place.revive,
            )
        except BaseException:
            self._place.leave()
            raise

    def _check_process(self) -> None:
        self._place.check_process()

    def close(self) -> None:
        """Close: end every call and watch, take registrations out, revoke the leases. Again is harmless."""
        super().close()
        self._place.leave()


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
        >>> with connect("memory://") as client:
        ...     with client.lock("stock") as held:
        ...         held.fence > 0
        True

    Raises:
        UsageError: the URL or an argument is malformed.
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """
    return Client(url, namespace=namespace, timeout=timeout, user=user, password=password, tls=tls)


_guard = threading.Lock()
_default: Client | None = None
_owner = 0


def default_client() -> Client:
    """The process's own client, made from the environment at first use and closed at exit; a forked child gets its own.

    Raises:
        NotConfigured: no endpoint is given and a local server is not allowed here.
    """
    global _default, _owner
    with _guard:
        if _default is None or _default.closed or _owner != os.getpid():
            _default = Client()
            _owner = os.getpid()
        return _default


@contextlib.contextmanager
def use_as_default(client: Client) -> Iterator[Client]:
    """Inside the block the module-level functions use `client`; for tests and for programs that connect themselves."""
    global _default, _owner
    before = (_default, _owner)
    _default, _owner = client, os.getpid()
    try:
        yield client
    finally:
        _default, _owner = before


def _close_default() -> None:
    if _default is not None and _owner == os.getpid():
        _default.close()


def _after_fork() -> None:
    # Another thread of the parent may have held it; there is no such thread in the child to let it go.
    global _guard
    _guard = threading.Lock()


atexit.register(_close_default)
os.register_at_fork(after_in_child=_after_fork)


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
    on_lost: Callable[[Held], object] | None = None,
    guard: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function run under a lock of the default client, which is asked for when it is called.

    See `coord.recipes.locks.methods.LockMethods.synchronized`.

    Raises:
        UsageError: the name is empty or cannot be made of the arguments, or a duration is none.
    """
    return _synchronized(default_client, name, ttl=ttl, timeout=timeout, on_lost=on_lost, guard=guard)
