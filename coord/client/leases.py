"""Leases as etcd has them: ``client.lease``. What keeps one alive by itself is ``client.session``."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from coord.client import calls
from coord.client.connection.retry import Timeout
from coord.errors import UsageError
from coord.model import DEFAULT, LONGEST_TTL, LeaseGrant, LeaseInfo

if TYPE_CHECKING:
    from coord.client.aio import AsyncClient
    from coord.client.blocking import BlockingClient

Ttl = float | timedelta


def whole_seconds(ttl: Ttl) -> int:
    """A time to live as etcd counts it, rounded up: a lease never ends before the time asked for.

    Raises:
        UsageError: it is no duration, or none that a lease can have.
    """
    found = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found <= LONGEST_TTL:
        raise UsageError(f"ttl is more than 0 and at most {LONGEST_TTL} seconds, not {ttl!r}")
    return math.ceil(found)


class BlockingLeases:
    """Grant, renew, revoke, look; blocking."""

    __slots__ = ("_client",)

    def __init__(self, client: BlockingClient) -> None:
        self._client = client

    def grant(self, ttl: Ttl, *, id: int = 0, timeout: Timeout = DEFAULT) -> LeaseGrant:  # noqa: A002 - etcd's name
        """Make a lease that ends after `ttl` seconds without renewal; the server may make it longer.

        Raises:
            LeaseExists: `id` is taken.
            OutcomeUnknown: with an `id`, it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.grant(whole_seconds(ttl), id), timeout)

    def revoke(self, lease: int, *, timeout: Timeout = DEFAULT) -> None:
        """End a lease now and delete its keys.

        Raises:
            LeaseNotFound: there is none, or it has ended.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(calls.revoke(lease), timeout)

    def keep_alive_once(self, lease: int, *, timeout: Timeout = DEFAULT) -> LeaseGrant:
        """Renew a lease; it has its full time to live again.

        Raises:
            LeaseNotFound: there is none, or it has ended.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.keep_alive(lease), timeout)

    def time_to_live(self, lease: int, *, keys: bool = False, timeout: Timeout = DEFAULT) -> LeaseInfo:
        """How long a lease has left; one that does not exist is not an error but ``exists == False``.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.time_to_live(lease, keys=keys, namespace=self._client.namespace), timeout)

    def list(self, *, timeout: Timeout = DEFAULT) -> tuple[int, ...]:
        """Ids of all leases of the cluster.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.leases(), timeout)


class AsyncLeases:
    """Grant, renew, revoke, look; asyncio."""

    __slots__ = ("_client",)

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def grant(self, ttl: Ttl, *, id: int = 0, timeout: Timeout = DEFAULT) -> LeaseGrant:  # noqa: A002 - etcd's name
        """Make a lease that ends after `ttl` seconds without renewal; the server may make it longer.

        Raises:
            LeaseExists: `id` is taken.
            OutcomeUnknown: with an `id`, it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.grant(whole_seconds(ttl), id), timeout)

    async def revoke(self, lease: int, *, timeout: Timeout = DEFAULT) -> None:
        """End a lease now and delete its keys.

        Raises:
            LeaseNotFound: there is none, or it has ended.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(calls.revoke(lease), timeout)

    async def keep_alive_once(self, lease: int, *, timeout: Timeout = DEFAULT) -> LeaseGrant:
        """Renew a lease; it has its full time to live again.

        Raises:
            LeaseNotFound: there is none, or it has ended.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.keep_alive(lease), timeout)

    async def time_to_live(self, lease: int, *, keys: bool = False, timeout: Timeout = DEFAULT) -> LeaseInfo:
        """How long a lease has left; one that does not exist is not an error but ``exists == False``.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        call = calls.time_to_live(lease, keys=keys, namespace=self._client.namespace)
        return await self._client.run(call, timeout)

    async def list(self, *, timeout: Timeout = DEFAULT) -> tuple[int, ...]:
        """Ids of all leases of the cluster.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.leases(), timeout)
