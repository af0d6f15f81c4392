"""Live pictures: a range of keys followed by a background program while the picture is open.

Any thread may look at any time; what was seen is replaced as a whole, so a look costs nothing and waits for nobody.
"""

from __future__ import annotations

import asyncio
import os
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from coord.errors import CallTimeout, ClosedError, ForkedError, UsageError
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import Background, HasPrograms, client_deadline
from coord.recipes.common.durations import Timeout

C = TypeVar("C")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Followed(Protocol[C, S_co]):
    """What keeps a picture true (see `coord.recipes.common.following`), and what can be seen."""

    @property
    def seen(self) -> S_co:
        """The newest state; never changed, only replaced."""
        ...

    def move(self, port: Port) -> None:
        """Go on with another port of the same client."""
        ...

    async def next(self, deadline: float | None) -> list[C]:
        """Wait for the next changes; the first call returns what is there."""
        ...

    def close(self) -> None:
        """Stop following."""
        ...


class Following(Generic[C, S]):
    """What an open picture follows with, and the program that keeps it up."""

    def __init__(self, follower: Followed[C, S]) -> None:
        self.follower = follower
        self._listeners: dict[object, Callable[[], None]] = {}
        self._pid = os.getpid()
        self.closed = False  # on purpose, so that whoever iterates comes to the end
        self.failure: Exception | None = None

    async def run(self, port: Port) -> None:
        """The program, which goes on after the first reading.

        Raises:
            RequestRefused: the range may not be read any more.
            ClosedError: the client was closed, or the program stopped by others than `close`.
        """
        try:
            with closing(self.follower) as follower:
                follower.move(port)
                while not self.closed:
                    await follower.next(None)
                    self.tell()
        except Exception as error:
            self.failure = error
            # Closing ends the watch a moment before it stops the program: no failure, to be told in no log.
            if not (self.closed and isinstance(error, ClosedError)):
                raise
        finally:
            # Also after a cancellation: nobody may take for the present what is not followed any more.
            self.failure = self.failure or ClosedError("it is not followed any more")
            self.tell()

    def close(self) -> None:
        """It was closed: whoever waits comes to the end."""
        self.closed = True
        self.follower.close()
        self.tell()

    def check(self) -> None:
        """Do nothing while the program runs.

        Raises:
            ForkedError: it runs in the parent process.
            CoordError: what ended it.
        """
        self.check_process()
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def check_process(self) -> None:
        """Do nothing in the process that opened it.

        Raises:
            ForkedError: this is another one.
        """
        if os.getpid() != self._pid:
            raise ForkedError("it was opened in the parent process, which alone follows it; open it anew here")

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change; returns a function that takes it back."""
        token = object()
        self._listeners[token] = callback
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)

    def tell(self) -> None:
        """There is something to look at."""
        for callback in tuple(self._listeners.values()):
            callback()


class LiveBase(Generic[C, S]):
    """What both faces are: a background program while they are open."""

    def __init__(self, client: HasPrograms, timeout: Timeout) -> None:
        self._client = client
        self._timeout = timeout
        self._following: Following[C, S] | None = None
        self._running: Background | None = None

    @property
    @abstractmethod
    def _label(self) -> str:
        """What it is a picture of, for messages and the thread's name: "the instances of 'orders'"."""

    @abstractmethod
    def _follow(self) -> Followed[C, S]:
        """What keeps a new picture true.

        Raises:
            ClosedError: the client was closed.
        """

    @abstractmethod
    def _differences(self, before: S | None, after: S) -> list[C]:
        """What changed from one state to another; everything, if there was none before."""

    def _seen(self) -> S:
        """The newest state.

        Raises:
            ClosedError: it is not open, or its client was closed.
            CoordError: what ended the following.
        """
        if self._following is None:
            raise ClosedError(f"{self._label}: not open; use it as a context manager")
        self._following.check()
        return self._following.follower.seen

    async def _open(self) -> None:
        """Read everything in the caller's time, then follow in the background."""
        if self._following is not None:
            raise UsageError(f"{self._label}: open already")
        following = Following(self._follow())
        try:
            await self._begin(following.follower, client_deadline(self._client, self._timeout))
            self._running = self._client.background(following.run, name=f"follow {self._label}")
        except CallTimeout as late:
            following.close()
            raise CallTimeout(f"{self._label} could not be read in time") from late.__cause__
        except BaseException:
            following.close()
            raise
        self._following = following

    async def _begin(self, follower: Followed[C, S], deadline: float | None) -> None:
        """The first reading."""
        await follower.next(deadline)

    def _stop(self) -> Background | None:
        running, self._running = self._running, None
        following, self._following = self._following, None
        if following is not None:
            following.close()
        return running


class Live(LiveBase[C, S]):
    """The blocking face."""

    def changes(self) -> Iterator[C]:
        """What is there, then every change.

        While this is open, what it shows has a change at the latest when it is yielded here, and the iteration ends
        when this is closed. If it is not open the iteration goes on for ever. Who looks rarely sees what changed since
        the last look, and nothing of what came and went in between.

        Raises:
            RequestRefused: it may not be read.
            ClosedError: the client was closed.
        """
        following = self._following
        if following is None:
            with closing(self._follow()) as follower:
                while True:
                    yield from run_blocking(follower.next(None))
        yield from self._since(following, None)

    def _since(self, following: Following[C, S], looked: S | None) -> Iterator[C]:
        """What changes in what is open, beginning with what is there if nothing was looked at yet."""
        news = threading.Event()
        forget = following.listen(news.set)
        try:
            while not following.closed:
                news.clear()
                following.check()
                before, looked = looked, following.follower.seen
                yield from self._differences(before, looked)
                news.wait()
        finally:
            forget()

    def __enter__(self) -> Self:
        run_blocking(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following. Again is harmless."""
        running = self._stop()
        if running is not None:
            running.stop()


class AsyncLive(LiveBase[C, S]):
    """The asyncio face."""

    async def changes(self) -> AsyncIterator[C]:
        """What is there, then every change; see `Live.changes`."""
        following = self._following
        if following is None:
            with closing(self._follow()) as follower:
                while True:
                    for change in await follower.next(None):
                        yield change
        async with aclosing(self._since(following, None)) as changes:
            async for change in changes:
                yield change

    async def _since(self, following: Following[C, S], looked: S | None) -> AsyncGenerator[C, None]:
        """See `Live._since`."""
        news = asyncio.Event()
        forget = following.listen(news.set)
        try:
            while not following.closed:
                news.clear()
                following.check()
                before, looked = looked, following.follower.seen
                for change in self._differences(before, looked):
                    yield change
                await news.wait()
        finally:
            forget()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following; see `Live.close`."""
        running = self._stop()
        if running is not None:
            await running.stop()
