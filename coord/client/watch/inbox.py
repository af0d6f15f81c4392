"""What waits for one reader of watches: batches in order, then perhaps the error that ended it.

Filled by the watch shell (a thread or the loop), emptied by the reader; both may be anywhere. It has no lock: every
step is one atomic operation on a deque or dict. Its size is bounded by the watch machine, which pauses a watcher whose
reader is behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from coord.client.ports.mailbox import Post
from coord.errors import CoordError
from coord.model import WatchBatch


class Inbox:
    """One for each handle; the handle may have several watchers, told apart by token."""

    __slots__ = ("__weakref__", "_batches", "_confirmed", "_error", "_listeners")

    def __init__(self) -> None:
        self._batches: deque[tuple[int, WatchBatch]] = deque()
        self._confirmed: dict[int, int] = {}
        self._error: CoordError | None = None
        self._listeners: dict[object, Post] = {}

    # --- the shell's side

    def push(self, token: int, batch: WatchBatch) -> None:
        """A batch for the reader."""
        self._batches.append((token, batch))
        self._tell()

    def confirm(self, token: int, revision: int) -> None:
        """The server confirmed a watcher: everything after `revision` will come."""
        self._confirmed[token] = revision
        self._tell()

    def fail(self, error: CoordError) -> None:
        """Nothing comes any more; the first error stays."""
        if self._error is None:
            self._error = error
        self._tell()

    # --- the reader's side

    def take(self) -> tuple[int, WatchBatch] | None:
        """The next batch with its watcher's token, None if none has come yet.

        Raises:
            CoordError: what ended the watch, once all that came before it was taken.
        """
        # In this order: an error seen here was set before, so a batch that came before it is already in the queue.
        error = self._error
        try:
            return self._batches.popleft()
        except IndexError:
            if error is not None:
                raise error from error.__cause__
            return None

    def confirmed(self, count: int) -> int | None:
        """The revision after which everything comes, None until `count` watchers are confirmed.

        Raises:
            CoordError: what ended the watch.
        """
        if len(self._confirmed) >= count:
            return min(self._confirmed.values())
        if self._error is not None:
            raise self._error from self._error.__cause__
        return None

    def listen(self, post: Post) -> Callable[[], None]:
        """Call `post` whenever something came. Returns what takes it back."""
        token = object()
        self._listeners[token] = post
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)

    def _tell(self) -> None:
        for post in self._listeners.copy().values():
            post()

    @property
    def waiting(self) -> int:
        """Batches that came and were not taken."""
        return len(self._batches)
