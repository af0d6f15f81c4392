"""Functions of which one runs at a time, wherever it is called: a lock around every call.

The name of the lock may be made of the call's arguments: ``"user/{user_id}"`` locks each user for itself.
"""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from coord.errors import UsageError
from coord.model import DEFAULT, Default
from coord.recipes.common.durations import Seconds, Timeout, lifetime, seconds
from coord.recipes.locks.lock import AsyncLock, Lock
from coord.recipes.ownership.held import AsyncHeld, Held

P = ParamSpec("P")
R = TypeVar("R")


class Locking(Protocol):
    """A blocking client, as far as this is concerned."""

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> Lock:
        """Its lock of that name."""
        ...


class AsyncLocking(Protocol):
    """An asyncio client, as far as this is concerned."""

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
    ) -> AsyncLock:
        """Its lock of that name."""
        ...


class _Call:
    """What is known of a decorated function: the name that a call locks, and where the guard goes."""

    def __init__(
        self, function: Callable[..., Any], name: str | bytes, guard: str | None, ttl: Seconds, timeout: Timeout
    ) -> None:
        if not name:
            raise UsageError("the name of a lock is empty")
        lifetime(ttl)
        if not isinstance(timeout, Default) and timeout is not None:
            seconds(timeout, "timeout")
        self._signature = inspect.signature(function)
        self._name = name
        self._guard = guard
        what = getattr(function, "__qualname__", repr(function))
        if guard is not None and guard not in self._signature.parameters:
            raise UsageError(f"{what} has no parameter {guard!r} for the guard")
        for field in [] if isinstance(name, bytes) else _fields(name):
            if field == guard or field not in self._signature.parameters:
                raise UsageError(f"{name!r} names {field!r}, which is no argument of {what}")

    def name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | bytes:
        """The name that a call with these arguments locks."""
        if isinstance(self._name, bytes):
            return self._name
        bound = self._signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        return self._name.format_map(bound.arguments)

    def with_guard(self, kwargs: dict[str, Any], guard: object) -> dict[str, Any]:
        """The keywords of the call, with the guard if the function wants it."""
        return kwargs if self._guard is None else {**kwargs, self._guard: guard}


def synchronized(
    client: Callable[[], Locking],
    name: str | bytes,
    *,
    ttl: Seconds,
    timeout: Timeout,
    on_lost: Callable[[Held], object] | None,
    guard: str | None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The decorator for functions; `client` is asked for at each call.

    Raises:
        UsageError: what is decorated is no plain function, or the name cannot be made of its arguments.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(f"{function!r} is for asyncio; decorate it with coord.aio.synchronized")
        _check_runs_when_called(function)
        call = _Call(function, name, guard, ttl, timeout)

        @functools.wraps(function)
        def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            wanted = client().lock(call.name(args, kwargs), ttl=ttl, timeout=timeout, on_lost=on_lost)
            with wanted as held:
                return function(*args, **call.with_guard(kwargs, held))

        return locked

    return decorate


def async_synchronized(
    client: Callable[[], AsyncLocking],
    name: str | bytes,
    *,
    ttl: Seconds,
    timeout: Timeout,
    on_lost: Callable[[AsyncHeld], object] | None,
    guard: str | None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """The decorator for coroutine functions; see `synchronized`."""

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        _check_runs_when_called(function)
        if not inspect.iscoroutinefunction(function):
            raise UsageError(f"{function!r} is no coroutine function; decorate it with coord.synchronized")
        call = _Call(function, name, guard, ttl, timeout)

        @functools.wraps(function)
        async def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            wanted = client().lock(call.name(args, kwargs), ttl=ttl, timeout=timeout, on_lost=on_lost)
            async with wanted as held:
                return await function(*args, **call.with_guard(kwargs, held))

        return locked

    return decorate


def _check_runs_when_called(function: Callable[..., Any]) -> None:
    if not callable(function):
        raise UsageError(f"{function!r} is no function; give the name of the lock: @synchronized(name)")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{function!r} is a generator: the lock would be given back before it runs")


def _fields(name: str) -> list[str]:
    """The arguments that a name is made of: ``user`` for ``"{user.id}"``.

    Raises:
        UsageError: it cannot be read, or names an argument by its position.
    """
    try:
        parts = [field for _, field, _, _ in string.Formatter().parse(name) if field is not None]
    except ValueError as error:
        raise UsageError(f"the name {name!r} cannot be read: {error}") from None
    fields = [part.replace("[", ".").partition(".")[0] for part in parts]
    if any(not field or field.isdigit() for field in fields):
        raise UsageError(f"name the arguments in {name!r}: {{user_id}}, not {{}} or {{0}}")
    return fields
