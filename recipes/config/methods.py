"""Configurations as methods of the clients."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coord.model import DEFAULT
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Timeout
from coord.recipes.config.base import KEEP, Options
from coord.recipes.config.config import AsyncConfig, Config
from coord.recipes.config.state import Change

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # has defaults; it is not needed to run

    T = TypeVar("T", default=dict[str, Any])
else:
    from typing import TypeVar

    T = TypeVar("T")


class ConfigMethods(HasPrograms):
    """What a blocking client has for configurations."""

    def config(
        self,
        prefix: str | bytes,
        model: type[T] = dict,  # type: ignore[assignment]  # the default of T
        *,
        defaults: Any = None,
        file: str | os.PathLike[str] | None = None,
        env_prefix: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        keep: int = KEEP,
        author: str | None = None,
        on_change: Callable[[Change[T]], object] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Config[T]:
        """A typed configuration below a prefix: ``with client.config("/app/", Settings) as config: config.current``.

        Args:
            prefix: what the keys of its fields begin with; `/app/db/host` is the field `host` of the field `db`.
            model: a pydantic model, a dataclass, a TypedDict, or `dict` for whatever is stored.
            defaults: fields, or an object of the model, that hold where nothing else is said.
            file: a TOML, JSON or YAML file that goes over the defaults.
            env_prefix: environment variables with this prefix go over the file; ``APP_DB__HOST`` is `db/host`.
            cache: file that the last good state is written to; used when no server answers at the start.
            keep: how many entries its history keeps.
            author: who changes it, for the history; the process unless it is given.
            on_change: called with every later `Change`.
            timeout: bounds the first reading.

        Raises:
            UsageError: an argument is wrong.
        """
        options = Options(defaults, file, env_prefix, cache, keep, author)
        return Config(self, prefix, model, options, timeout, on_change)


class AsyncConfigMethods(HasPrograms):
    """What an asyncio client has for configurations."""

    def config(
        self,
        prefix: str | bytes,
        model: type[T] = dict,  # type: ignore[assignment]  # the default of T
        *,
        defaults: Any = None,
        file: str | os.PathLike[str] | None = None,
        env_prefix: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        keep: int = KEEP,
        author: str | None = None,
        on_change: Callable[[Change[T]], object] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> AsyncConfig[T]:
        """A typed configuration below a prefix: ``async with client.config("/app/", Settings) as config: …``.

        See `ConfigMethods.config`; `on_change` runs on the loop and may be a coroutine
        function.

        Raises:
            UsageError: an argument is wrong.
        """
        options = Options(defaults, file, env_prefix, cache, keep, author)
        return AsyncConfig(self, prefix, model, options, timeout, on_change)
