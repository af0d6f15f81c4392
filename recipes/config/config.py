"""A configuration in a program: typed, live, changed as a whole, with a history."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Self, TypeVar

from coord.errors import CoordError
from coord.model import DEFAULT
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import client_deadline
from coord.recipes.common.durations import Timeout
from coord.recipes.common.live import AsyncLive, Following, Live
from coord.recipes.config.base import ConfigBase
from coord.recipes.config.changing import Difference
from coord.recipes.config.state import Change, Seen
from coord.recipes.config.stored import Entry
from coord.recipes.config.updating import Decide, Written

logger = logging.getLogger("coord.config")

T = TypeVar("T")


class Config(ConfigBase[T], Live[Change[T], Seen[T]]):
    """A typed configuration, followed live: ``with client.config("/app/", Settings) as config: config.current``.

    `changes` yields what is there as the first change, then every change. `on_change` is called with every later one,
    in a thread of its own.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client, client.config("/app/") as config:
        ...     change = config.update(level="debug", workers=4)
        ...     config.current
        {'level': 'debug', 'workers': 4}
    """

    def __enter__(self) -> Self:
        run_blocking(self._started())
        return self

    def close(self) -> None:
        """Stop following; a callback that runs is waited for, two seconds at most. Again is harmless."""
        super().close()
        teller, self._teller = self._teller, None
        if teller is not None:
            teller.stop()

    async def _tell(self, port: Port) -> None:
        following = self._following
        if following is None:
            return
        try:
            for change in self._news(following):
                try:
                    self._on_change and self._on_change(change)
                except Exception:
                    logger.exception("%s: on_change failed", self._label)
        except CoordError:
            return  # the follower's own handle tells it

    def _news(self, following: Following[Change[T], Seen[T]]) -> Iterator[Change[T]]:
        opened = following.follower.seen
        self._save(following)
        if opened.error is not None:
            yield Change(opened.value, opened.value, (), opened.newest, opened.error)
        for change in self._since(following, opened):
            self._save(following)
            yield change

    def update(
        self,
        changes: Mapping[str, Any] | Callable[[T], Any] | None = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        **fields: Any,
    ) -> Change[T]:
        """Change several fields at once; `current` shows it when this returns.

        Fields are given by name, or as a mapping in which names may be paths ("db/host"); `coord.DEFAULT` takes a field
        out of the store, so that the layer below it shows. If anything of the configuration was changed since what
        this object shows, nothing is written.

        A function is given the present state and returns the changes: a mapping, or a changed copy of what it was
        given. It is called again until nobody else wrote meanwhile. What depends on an old value belongs here.

        Raises:
            ConfigInvalid: the model refuses the result; nothing was written.
            ConfigConflict: somebody else wrote meanwhile; nothing was written.
            UsageError: there is no such field, or its value cannot be stored.
            CallTimeout: not in time; nothing was written.
            OutcomeUnknown: it may have been written.
            RequestRefused, HistoryLost, ClosedError.
        """
        return self._settled(self._decide(changes, fields), timeout)

    def rollback(self, revision: int, *, timeout: Timeout = DEFAULT) -> Change[T]:
        """Make it what it was at a revision of its history; a change like any other, whatever is there now.

        Raises:
            RevisionNotFound: the history does not have it.
            ConfigInvalid: the model refuses what was then; nothing was written.
            CallTimeout, OutcomeUnknown, RequestRefused, HistoryLost, ClosedError.
        """
        deadline = client_deadline(self._client, timeout)
        return self._shows(run_blocking(self._roll_back(revision, timeout)), deadline)

    def history(self, *, timeout: Timeout = DEFAULT) -> tuple[Entry, ...]:
        """What it was, oldest first: every change made by coord, and what coord found there before one.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._history(timeout))

    def diff(self, before: int, after: int | None = None, *, timeout: Timeout = DEFAULT) -> tuple[Difference, ...]:
        """The stored fields that differ between two revisions of the history, or between one and now.

        Raises:
            RevisionNotFound: the history does not have one of them.
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._diff(before, after, timeout))

    def _settled(self, decide: Decide, timeout: Timeout) -> Change[T]:
        deadline = client_deadline(self._client, timeout)
        return self._shows(run_blocking(self._write(decide, deadline)), deadline)

    def _shows(self, written: Written, deadline: float | None) -> Change[T]:
        following = self._following
        if following is not None:
            news = threading.Event()
            forget = following.listen(news.set)
            try:
                while not self._is_shown(written.revision):
                    left = None if deadline is None else deadline - self._client.port.now()
                    if not news.wait(left):
                        break  # it is written; the watch tells it as soon as it can
                    news.clear()
            finally:
                forget()
        return self._changed(written)


class AsyncConfig(ConfigBase[T], AsyncLive[Change[T], Seen[T]]):
    """A typed configuration on asyncio; see `Config`. `on_change` runs on the loop and may be a coroutine function."""

    _told_in: asyncio.Task[Any] | None = None  # what runs on_change

    async def __aenter__(self) -> Self:
        await self._started()
        return self

    async def close(self) -> None:
        """Stop following; see `Config.close`. A callback that waits is cancelled."""
        await super().close()
        teller, self._teller = self._teller, None
        # A callback that closes it goes on to its own end.
        if teller is not None and asyncio.current_task() is not self._told_in:
            await teller.stop()

    async def _tell(self, port: Port) -> None:
        following = self._following
        if following is None:
            return
        self._told_in = asyncio.current_task()
        try:
            async with aclosing(self._news(following)) as news:
                async for change in news:
                    await self._call(change)
        except CoordError:
            return  # the follower's own handle tells it

    async def _call(self, change: Change[T]) -> None:
        try:
            answer = self._on_change and self._on_change(change)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            logger.exception("%s: on_change failed", self._label)

    async def _news(self, following: Following[Change[T], Seen[T]]) -> AsyncGenerator[Change[T], None]:
        opened = following.follower.seen
        await asyncio.to_thread(self._save, following)  # a disk may be slow
        if opened.error is not None:
            yield Change(opened.value, opened.value, (), opened.newest, opened.error)
        async with aclosing(self._since(following, opened)) as changes:
            async for change in changes:
                await asyncio.to_thread(self._save, following)
                yield change

    async def update(
        self,
        changes: Mapping[str, Any] | Callable[[T], Any] | None = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        **fields: Any,
    ) -> Change[T]:
        """Change several fields at once; see `Config.update`."""
        return await self._settled(self._decide(changes, fields), timeout)

    async def rollback(self, revision: int, *, timeout: Timeout = DEFAULT) -> Change[T]:
        """Make it what it was at a revision of its history; see `Config.rollback`."""
        deadline = client_deadline(self._client, timeout)
        return await self._shows(await self._roll_back(revision, timeout), deadline)

    async def history(self, *, timeout: Timeout = DEFAULT) -> tuple[Entry, ...]:
        """What it was, oldest first; see `Config.history`."""
        return await self._history(timeout)

    async def diff(
        self, before: int, after: int | None = None, *, timeout: Timeout = DEFAULT
    ) -> tuple[Difference, ...]:
        """The stored fields that differ between two revisions; see `Config.diff`."""
        return await self._diff(before, after, timeout)

    async def _settled(self, decide: Decide, timeout: Timeout) -> Change[T]:
        deadline = client_deadline(self._client, timeout)
        return await self._shows(await self._write(decide, deadline), deadline)

    async def _shows(self, written: Written, deadline: float | None) -> Change[T]:
        following = self._following
        if following is not None:
            news = asyncio.Event()
            forget = following.listen(news.set)
            try:
                async with asyncio.timeout(None if deadline is None else deadline - self._client.port.now()):
                    while not self._is_shown(written.revision):
                        await news.wait()
                        news.clear()
            except TimeoutError:
                pass  # it is written; the watch tells it as soon as it can
            finally:
                forget()
        return self._changed(written)
