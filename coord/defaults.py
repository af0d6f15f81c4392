"""Methods of a client as functions of the default client, for both facades."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")


def of_default(method: Callable[Concatenate[C, P], R], default_client: Callable[[], C]) -> Callable[P, R]:
    """`method` of whatever `default_client` returns at the time of the call.

    It has the method's name, text and signature, and belongs to the module of `default_client`.
    """

    @functools.wraps(method, assigned=("__name__", "__doc__", "__annotations__"))
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(default_client(), *args, **kwargs)

    call.__module__ = default_client.__module__
    call.__qualname__ = method.__name__
    # Without the client, which nobody gives; `wraps` would show it.
    whole = inspect.signature(method)
    call.__signature__ = whole.replace(parameters=list(whole.parameters.values())[1:])  # type: ignore[attr-defined]  # inspect reads it
    return call
