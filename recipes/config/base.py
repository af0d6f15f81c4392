"""What both faces of a configuration are."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from coord.errors import CallTimeout, ClosedError, ConfigConflict, ConfigInvalid, CoordError, UsageError
from coord.model import DEFAULT
from coord.port import Port
from coord.recipes.common.client import Background, HasPrograms, client_deadline
from coord.recipes.common.durations import Timeout
from coord.recipes.common.live import Followed, Following, LiveBase
from coord.recipes.config.author import stamp
from coord.recipes.config.cache import Cache
from coord.recipes.config.changing import Difference, amend, wanted
from coord.recipes.config.changing import differences as texts_differ
from coord.recipes.config.layers import MODEL, Layer, Layers, read_defaults, read_environment, read_file
from coord.recipes.config.shape import OPEN, Record, find, shape_of
from coord.recipes.config.state import Change, Follower, Seen, differences
from coord.recipes.config.stored import Entry, changed_fields, place_of
from coord.recipes.config.updating import Decide, Snapshot, Update, Written, entries, entry_of, read

logger = logging.getLogger("coord.config")

T = TypeVar("T")

KEEP: Final = 100
"""Entries that a history keeps unless told otherwise."""

Changes = Mapping[str, Any] | Callable[[Any], Any] | None
Told = Callable[[Change[Any]], object]


@dataclass(frozen=True, slots=True)
class Options:
    """How a configuration is read and written; see `coord.recipes.config.methods.ConfigMethods.config`."""

    defaults: Any = None
    file: str | os.PathLike[str] | None = None
    env_prefix: str | None = None
    cache: str | os.PathLike[str] | None = None
    keep: int = KEEP
    author: str | None = None

    def check(self) -> None:
        """Do nothing if they can be meant.

        Raises:
            UsageError: they cannot.
        """
        if isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 1:
            raise UsageError(f"keep is how many entries the history has, 1 or more, not {self.keep!r}")
        if self.author is not None and not (isinstance(self.author, str) and self.author):
            raise UsageError(f"an author is a text, not {self.author!r}")


class ConfigBase(LiveBase[Change[T], Seen[T]], Generic[T]):
    """What both faces are."""

    def __init__(
        self,
        client: HasPrograms,
        prefix: str | bytes,
        model: Any,
        options: Options,
        timeout: Timeout = DEFAULT,
        on_change: Told | None = None,
    ) -> None:
        """Describe it; nothing is read yet. `timeout` bounds the first reading when it is opened.

        Raises:
            UsageError: an argument is wrong.
        """
        options.check()
        self._place = place_of(prefix)
        self._model = model
        self._shape = shape_of(model)
        self._options = options
        self._on_change = on_change
        self._cache = None if options.cache is None else Cache(options.cache, self._place.prefix)
        self._strangers: set[str] = set()
        self._teller: Background | None = None
        super().__init__(client, timeout)

    def __repr__(self) -> str:
        following = self._following
        state = "closed" if following is None else f"revision={following.follower.seen.revision}"
        return f"<{type(self).__name__} {self.prefix!r} {state}>"

    @property
    def prefix(self) -> str:
        """What the keys of its fields begin with."""
        return self._place.prefix.decode("utf-8", "backslashreplace")

    # --- what is shown

    @property
    def current(self) -> T:
        """The newest valid state; kept up to date in the background while it is open.

        It is replaced as a whole, never changed. While the server cannot be reached, and while what is stored is not
        valid, it is the last good state; `error` and `stale` say so.

        Raises:
            ClosedError: it is not open.
            ForkedError: it was opened in the parent process.
        """
        return self._shown().value

    @property
    def revision(self) -> int:
        """Revision of the store at which `current` was seen."""
        return self._shown().revision

    @property
    def error(self) -> CoordError | None:
        """Why `current` is not what is stored: that is not valid, or cannot be followed any more; None if it is."""
        shown = self._shown()
        following = self._following
        return shown.error if following is None or following.failure is None else _error(following.failure)

    @property
    def stale(self) -> bool:
        """True if `current` comes from the file of the last good state, and no valid one was read since."""
        return self._shown().stale

    def origin(self, field: str) -> str:
        """Where a field's value comes from: "etcd", "environment", "file", "defaults", or "model" for its own default.

        Raises:
            UsageError: there is no such field.
            ClosedError: it is not open.
        """
        origins = self._shown().origins
        node = find(self._shape, field)
        known = field in origins or (node is not None and not isinstance(node, Record))
        if not known or (node is OPEN and field not in origins):
            raise UsageError(f"{self._label}: no field {field!r}")
        return origins.get(field, MODEL)

    def _shown(self) -> Seen[T]:
        following = self._following
        if following is None:
            raise ClosedError(f"{self._label}: not open; use it as a context manager")
        following.check_process()
        return following.follower.seen

    # --- following

    @property
    def _label(self) -> str:
        return f"the configuration {self.prefix!r}"

    @cached_property
    def _layers(self) -> Layers:
        options, shape = self._options, self._shape
        below: list[Layer] = []
        if options.defaults is not None:
            below.append(read_defaults(options.defaults, shape))
        if options.file is not None:
            below.append(read_file(options.file, shape))
        if options.env_prefix is not None:
            below.append(read_environment(options.env_prefix, shape))
        return Layers(self._model, shape, tuple(below), self._strange)

    def _strange(self, path: str) -> None:
        if path not in self._strangers:
            self._strangers.add(path)
            logger.warning("%s: the stored %r is no field of its model; coord ignores it", self._label, path)

    def _follow(self) -> Follower[T]:
        return Follower(self._client.port, self._place, self._layers)

    def _differences(self, before: Seen[T] | None, after: Seen[T]) -> list[Change[T]]:
        return differences(before, after) if after.valid else []

    async def _begin(self, follower: Followed[Change[T], Seen[T]], deadline: float | None) -> None:
        """Read; the file of the last good state stands in when no server answers, or what is stored is not valid."""
        try:
            await follower.next(deadline)
        except CallTimeout as late:
            if not self._restored(follower):
                raise
            logger.warning("%s: no server answers; going on with %s", self._label, self._options.cache, exc_info=late)
        error = follower.seen.error
        if not follower.seen.valid and error is not None and not self._restored(follower):
            raise error

    def _restored(self, follower: Any) -> bool:
        found = None if self._cache is None else self._cache.load()
        if found is None:
            return False
        try:
            follower.board.restore(*found)
        except ConfigInvalid as error:
            logger.error(
                "%s: the last good state in %s is not valid any more: %s", self._label, self._options.cache, error
            )
            return False
        return True

    async def _started(self) -> None:
        """Open it, and run what is told of changes."""
        await self._open()
        if self._cache is not None or self._on_change is not None:
            self._teller = self._client.background(self._tell, name=f"tell {self._label}")

    @abstractmethod
    async def _tell(self, port: Port) -> None:
        """Program: save the last good state, and tell `on_change`."""

    def _save(self, following: Following[Change[T], Seen[T]]) -> None:
        seen = following.follower.seen
        if self._cache is not None and not seen.stale:
            self._cache.save(seen.texts, seen.revision)

    # --- changing

    def _decide(self, changes: Changes, fields: Mapping[str, Any]) -> Decide:
        if changes is not None and fields:
            raise UsageError("give the fields by name, or as a mapping, or a function; not two of them")
        if callable(changes):
            return self._by_function(changes)
        asked = wanted(fields if changes is None else changes, None, self._shape)
        base = None if self._following is None else self._shown()

        def decide(found: Snapshot) -> Mapping[str, str]:
            if base is not None and base.newest:
                shown = self._place.texts(base.items.values())
                others = changed_fields(shown, found.texts)
                if others:
                    raise ConfigConflict(
                        f"{self._label} was changed by somebody else: {', '.join(others)}",
                        fields=others,
                        revision=found.revision,
                    )
            return self._valid(amend(found.texts, asked, self._shape))

        return decide

    def _by_function(self, change: Callable[[Any], Any]) -> Decide:
        def decide(found: Snapshot) -> Mapping[str, str]:
            current = self._layers.build(found.texts).value
            return self._valid(amend(found.texts, wanted(change(current), current, self._shape), self._shape))

        return decide

    def _valid(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        self._layers.build(texts)
        return texts

    async def _write(self, decide: Decide, deadline: float | None) -> Written:
        try:
            update = Update(self._client.port, self._place, stamp(self._options.author), self._options.keep, deadline)
            return await update.run(decide)
        except CallTimeout as late:
            raise CallTimeout(f"{self._label} was not changed in time") from late.__cause__

    def _changed(self, written: Written) -> Change[T]:
        fields = changed_fields(written.before, written.after)
        try:
            old = self._layers.build(written.before).value
        except ConfigInvalid:
            old = None
        return Change(old, self._layers.build(written.after).value, fields, written.revision)

    async def _history(self, timeout: Timeout) -> tuple[Entry, ...]:
        try:
            return await entries(self._client.port, self._place, client_deadline(self._client, timeout))
        except CallTimeout as late:
            raise CallTimeout(f"the history of {self._label} could not be read in time") from late.__cause__

    async def _diff(self, before: int, after: int | None, timeout: Timeout) -> tuple[Difference, ...]:
        history = await self._history(timeout)
        old = entry_of(history, before).texts
        if after is not None:
            return texts_differ(old, entry_of(history, after).texts)
        now = await read(self._client.port, self._place, client_deadline(self._client, timeout))
        return texts_differ(old, now.texts)

    async def _roll_back(self, revision: int, timeout: Timeout) -> Written:
        deadline = client_deadline(self._client, timeout)
        goal = entry_of(await self._history(timeout), revision).texts
        return await self._write(lambda _: self._valid(goal), deadline)

    def _is_shown(self, revision: int) -> bool:
        """The state of this revision was seen, or there is nothing to wait for."""
        following = self._following
        if following is None or following.closed or following.failure is not None:
            return True
        return following.follower.seen.newest >= revision


def _error(failure: Exception) -> CoordError:
    return failure if isinstance(failure, CoordError) else ClosedError(f"it is not followed any more: {failure!r}")
