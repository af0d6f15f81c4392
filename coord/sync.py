"""The blocking client with its recipes, and the process's default one.

`coord.aio` is the same for asyncio.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

from coord import place
from coord.client.blocking import BlockingClient
from coord.client.calls import Call
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.model import DEFAULT, Default
from coord.program import run_blocking
from coord.recipes.locks.lock import Lock
from coord.recipes.ownership.held import Held
from coord.recipes.registry.instance import Instance, new_instance
from coord.recipes.registry.registration import Registration, View, present

T = TypeVar("T")
Duration = float | timedelta
Timeout = Duration | Default | None


class Client(BlockingClient):
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

    def run(self, call: Call[T], timeout: Timeout = DEFAULT, *, endpoint: Endpoint | None = None) -> T:
        """Make a call that was described with `coord.client.calls`; see `BlockingClient.run`.

        Raises:
            ForkedError: the server stayed in the parent process.
            CoordError: the call failed.
        """
        self._place.check_process()
        return super().run(call, timeout, endpoint=endpoint)

    def close(self) -> None:
        """Close: end every call and watch, take registrations out, revoke the leases. Again is harmless."""
        super().close()
        self._place.leave()

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Duration = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> Lock:
        """A fair lock across processes: ``with client.lock("stock") as held: ...``.

        See `coord.recipes.locks.lock.Lock`.

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
        """Register an instance of a service and keep it registered; returns when it stands in the store.

        It goes when the registration or the client is closed, or `ttl` seconds after this process died; as a context
        manager it goes at the end of the block. `id` is chosen if it is not given.

        Raises:
            UsageError: a field cannot be stored.
            CallTimeout: it was not stored in time; nothing is registered.
            RequestRefused, ClosedError.
        """
        instance = new_instance(service, address, metadata=metadata, weight=weight, zone=zone, id=id)
        registration = Registration(self, instance, ttl)
        try:
            return registration.settle(timeout=timeout)
        except BaseException:
            registration.close()
            raise

    def discover(self, service: str, *, timeout: Timeout = DEFAULT) -> View:
        """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``.

        `timeout` bounds the first reading.
        """
        return View(self, service, timeout)

    def instances(self, service: str = "", *, timeout: Timeout = DEFAULT) -> tuple[Instance, ...]:
        """Who is registered for a service now, for all services without a name; oldest first.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(present(self, service, timeout))


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


def lock(
    name: str | bytes,
    *,
    ttl: Duration = 10,
    timeout: Timeout = DEFAULT,
    on_lost: Callable[[Held], object] | None = None,
) -> Lock:
    """A lock of the default client: ``with coord.lock("/my-lock") as held: ...``.

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
