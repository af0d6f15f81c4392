"""Finding a service: who is registered, now and from now on."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace

from coord.errors import NoInstances, UsageError
from coord.model import DEFAULT, Default
from coord.recipes.common.client import HasPrograms, client_deadline
from coord.recipes.common.durations import Timeout, call_deadline
from coord.recipes.common.live import AsyncLive, Live, LiveBase
from coord.recipes.registry.balance import BalanceName, balance_of
from coord.recipes.registry.brake import Brake
from coord.recipes.registry.ejection import Ejections
from coord.recipes.registry.instance import Instance, checked_metadata, service_prefix
from coord.recipes.registry.picker import Picker
from coord.recipes.registry.roster import NOBODY, Change, Follower, Seen, differences


class _ViewBase(LiveBase[Change, Seen]):
    """What both views are."""

    def __init__(
        self,
        client: HasPrograms,
        service: str,
        timeout: Timeout = DEFAULT,
        *,
        balance: BalanceName = "round_robin",
        zone: str | None = None,
        brake: float = 0.5,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; nothing is read yet. `timeout` bounds the first reading when it is opened.

        Raises:
            UsageError: the name is no text, the balance or the brake none that exists, or the tags are not text.
        """
        service_prefix(service)
        self._service = service
        self._brake = brake
        self._tags = checked_metadata(tags)
        Brake(brake)
        # Nothing secret is chosen; a generator of its own is not disturbed by a program that seeds the common one.
        self._picker = Picker(service, balance_of(balance, zone, random.Random()), Ejections())
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
    def braked(self) -> bool:
        """True while `pick` also chooses among instances that vanished, since most of all vanished at once.

        Raises:
            ClosedError, RequestRefused: as for `instances`.
        """
        return bool(self._seen().kept(self._client.port.now()))

    def failed(self, instance: Instance) -> None:
        """A call to this instance failed: this view does not pick it for a while.

        For 5 seconds at first, and for twice as long each time it fails again soon after it is back, up to 5 minutes.
        At most half of the instances are left out at a time, so that the last one never is.
        """
        self._picker.failed(instance, self._client.port.now())

    def _listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        if self._following is None:
            return _nothing  # looking says what is wrong
        return self._following.listen(callback)

    def _choose(self, key: str | bytes | None, *, counted: bool) -> Instance:
        found = self._picker.pick(self._seen(), _key(key), self._client.port.now(), counted=counted)
        return replace(found, _report=self.failed)

    def _waits_until(self, timeout: Timeout) -> float | None:
        return call_deadline(self._client.port, self._client.timeout if isinstance(timeout, Default) else timeout)

    def _left(self, until: float | None) -> float | None:
        return None if until is None else max(0.0, until - self._client.port.now())

    @property
    def _label(self) -> str:
        return f"the instances of {self._service!r}"

    def _follow(self) -> Follower:
        return Follower(self._client.port, self._service, Brake(self._brake), self._tags)

    def _differences(self, before: Seen | None, after: Seen) -> list[Change]:
        return differences(before or NOBODY, after)


class View(_ViewBase, Live[Change, Seen]):
    """The instances of a service, followed live: ``with client.discover("orders") as view: view.instances``.

    `changes` yields everybody who is there as JOINED, then every change; `pick` chooses one of them for a call::

        with coord.discover("orders", balance="least_loaded") as view:
            with view.picked() as instance:
                call(instance.address)
    """

    def pick(self, key: str | bytes | None = None, *, timeout: Timeout = 0) -> Instance:
        """One of the instances for the next call, as the view's balance says; no request is made.

        Args:
            key: what ``balance="sticky"`` chooses by: a user, a session.
            timeout: seconds to wait for one if nobody is there; None for ever.

        Raises:
            NoInstances: nobody who takes calls is there, or came in time.
            UsageError: the balance is sticky and there is no key.
            RequestRefused, ClosedError: as for `instances`.
        """
        return self._chosen(key, timeout, counted=False)

    @contextmanager
    def picked(self, key: str | bytes | None = None, *, timeout: Timeout = 0) -> Iterator[Instance]:
        """Like `pick`, and for the length of the block a call counts as under way; see ``balance="least_loaded"``.

        Raises:
            NoInstances, UsageError, RequestRefused, ClosedError.
        """
        instance = self._chosen(key, timeout, counted=True)
        try:
            yield instance
        finally:
            self._picker.done(instance)

    def _chosen(self, key: str | bytes | None, timeout: Timeout, *, counted: bool) -> Instance:
        until = self._waits_until(timeout)
        while True:
            news = threading.Event()
            forget = self._listen(news.set)
            try:
                return self._choose(key, counted=counted)
            except NoInstances:
                if not news.wait(self._left(until)):
                    raise
            finally:
                forget()


class AsyncView(_ViewBase, AsyncLive[Change, Seen]):
    """The instances of a service on asyncio; see `View`."""

    async def pick(self, key: str | bytes | None = None, *, timeout: Timeout = 0) -> Instance:
        """One of the instances for the next call; see `View.pick`.

        Raises:
            NoInstances, UsageError, RequestRefused, ClosedError.
        """
        return await self._chosen(key, timeout, counted=False)

    @asynccontextmanager
    async def picked(self, key: str | bytes | None = None, *, timeout: Timeout = 0) -> AsyncIterator[Instance]:
        """Like `pick`, and a call counts as under way; see `View.picked`.

        Raises:
            NoInstances, UsageError, RequestRefused, ClosedError.
        """
        instance = await self._chosen(key, timeout, counted=True)
        try:
            yield instance
        finally:
            self._picker.done(instance)

    async def _chosen(self, key: str | bytes | None, timeout: Timeout, *, counted: bool) -> Instance:
        until = self._waits_until(timeout)
        while True:
            news = asyncio.Event()
            forget = self._listen(news.set)
            try:
                return self._choose(key, counted=counted)
            except NoInstances as nobody:
                try:
                    async with asyncio.timeout(self._left(until)):
                        await news.wait()
                except TimeoutError:
                    raise nobody from None
            finally:
                forget()


def _nothing() -> None:
    pass


def _key(key: object) -> bytes | None:
    if isinstance(key, str):
        return key.encode("utf-8", "surrogatepass")
    if key is None or isinstance(key, bytes):
        return key
    raise UsageError(f"a key to choose by is text or bytes, not {key!r}")


async def present(client: HasPrograms, service: str, timeout: Timeout) -> tuple[Instance, ...]:
    """Program: who is registered for a service now, for all services if it is empty; oldest first.

    Raises:
        CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
    """
    with closing(Follower(client.port, service)) as follower:
        await follower.read(client_deadline(client, timeout))
        return follower.seen.instances
