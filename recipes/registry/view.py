"""Finding a service: who is registered, now and from now on."""

from __future__ import annotations

from contextlib import closing

from coord.model import DEFAULT
from coord.recipes.common.client import HasPrograms, client_deadline
from coord.recipes.common.durations import Timeout
from coord.recipes.common.live import AsyncLive, Live, LiveBase
from coord.recipes.registry.instance import Instance, service_prefix
from coord.recipes.registry.roster import NOBODY, Change, Follower, Seen, differences


class _ViewBase(LiveBase[Change, Seen]):
    """What both views are."""

    def __init__(self, client: HasPrograms, service: str, timeout: Timeout = DEFAULT) -> None:
        """Describe it; nothing is read yet. `timeout` bounds the first reading when it is opened.

        Raises:
            UsageError: the name is no text.
        """
        service_prefix(service)
        self._service = service
        super().__init__(client, timeout)

    def __repr__(self) -> str:
        following = self._following
        state = "closed" if following is None else f"instances={len(following.follower.seen.known)}"
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
        return self._seen().instances

    @property
    def _label(self) -> str:
        return f"the instances of {self._service!r}"

    def _follow(self) -> Follower:
        return Follower(self._client.port, self._service)

    def _differences(self, before: Seen | None, after: Seen) -> list[Change]:
        return differences(before or NOBODY, after)


class View(_ViewBase, Live[Change, Seen]):
    """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``.

    `changes` yields everybody who is there as JOINED, then every change.
    """


class AsyncView(_ViewBase, AsyncLive[Change, Seen]):
    """The instances of a service on asyncio; see `View`."""


async def present(client: HasPrograms, service: str, timeout: Timeout) -> tuple[Instance, ...]:
    """Program: who is registered for a service now, for all services if it is empty; oldest first.

    Raises:
        CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
    """
    with closing(Follower(client.port, service)) as follower:
        await follower.read(client_deadline(client, timeout))
        return follower.seen.instances
