"""Every recipe as a method of the asyncio client; `coord.recipes.blocking` is the same for threads."""

from __future__ import annotations

from collections.abc import Mapping

from coord.model import DEFAULT
from coord.recipes.barriers.methods import AsyncBarrierMethods
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.config.methods import AsyncConfigMethods
from coord.recipes.elections.methods import AsyncElectionMethods
from coord.recipes.locks.methods import AsyncLockMethods
from coord.recipes.queues.methods import AsyncQueueMethods
from coord.recipes.registry.balance import BalanceName
from coord.recipes.registry.instance import Instance, new_instance
from coord.recipes.registry.registration import AsyncRegistration
from coord.recipes.registry.view import AsyncView, present


class AsyncRecipes(AsyncBarrierMethods, AsyncConfigMethods, AsyncElectionMethods, AsyncLockMethods, AsyncQueueMethods):
    """What `coord.aio.Client` has beside etcd's own calls."""

    def register(
        self,
        service: str,
        address: str,
        *,
        metadata: Mapping[str, str] | None = None,
        weight: int = 1,
        zone: str = "",
        ttl: Seconds = 10,
        id: str | None = None,  # noqa: A002  # the name that the value has
        timeout: Timeout = DEFAULT,
    ) -> AsyncRegistration:
        """Register an instance of a service and keep it registered; await it, or use it with ``async with``.

        See `coord.recipes.blocking.BlockingRecipes.register`. It is being registered from this call on, awaited or not.

        Raises:
            UsageError: a field cannot be stored.
        """
        instance = new_instance(service, address, metadata=metadata, weight=weight, zone=zone, id=id)
        return AsyncRegistration(self, instance, ttl, timeout)

    def discover(
        self,
        service: str,
        *,
        balance: BalanceName = "round_robin",
        zone: str | None = None,
        brake: float = 0.5,
        tags: Mapping[str, str] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> AsyncView:
        """The instances of a service, followed live; see `coord.recipes.blocking.BlockingRecipes.discover`.

        With `tags` only those are seen whose metadata say all of that.

        Raises:
            UsageError: the name is no text, the balance or the brake none that exists, or the tags are not text.
        """
        return AsyncView(self, service, timeout, balance=balance, zone=zone, brake=brake, tags=tags)

    async def instances(self, service: str = "", *, timeout: Timeout = DEFAULT) -> tuple[Instance, ...]:
        """Who is registered for a service now; see `coord.recipes.blocking.BlockingRecipes.instances`.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await present(self, service, timeout)
