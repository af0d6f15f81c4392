"""Every recipe as a method of the blocking client; `coord.recipes.aio` is the same for asyncio."""

from __future__ import annotations

from collections.abc import Mapping

from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.barriers.methods import BarrierMethods
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.config.methods import ConfigMethods
from coord.recipes.elections.methods import ElectionMethods
from coord.recipes.locks.methods import LockMethods
from coord.recipes.queues.methods import QueueMethods
from coord.recipes.registry.balance import BalanceName
from coord.recipes.registry.instance import Instance, new_instance
from coord.recipes.registry.registration import Registration
from coord.recipes.registry.view import View, present


class BlockingRecipes(BarrierMethods, ConfigMethods, ElectionMethods, LockMethods, QueueMethods):
    """What `coord.Client` has beside etcd's own calls."""

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

    def discover(
        self,
        service: str,
        *,
        balance: BalanceName = "round_robin",
        zone: str | None = None,
        brake: float = 0.5,
        tags: Mapping[str, str] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> View:
        """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``.

        `view.pick()` chooses one as `balance` says: round_robin, random, weighted, least_loaded, sticky (by key) or
        zone_first (those of `zone`, the caller's, while there are any). When more than the share `brake`
        vanish at once they go on being picked for a minute. `timeout` bounds the first reading.

        With `tags` only those are seen whose metadata say all of that.

        Raises:
            UsageError: the name is no text, the balance or the brake none that exists, or the tags are not text.
        """
        return View(self, service, timeout, balance=balance, zone=zone, brake=brake, tags=tags)

    def instances(self, service: str = "", *, timeout: Timeout = DEFAULT) -> tuple[Instance, ...]:
        """Who is registered for a service now, for all services without a name; oldest first.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(present(self, service, timeout))
