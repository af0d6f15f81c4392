"""Running a program without an event loop.

A program is an ``async def`` that awaits nothing but a `coord.port.Port`. The blocking port never suspends, so one
``send(None)`` runs the program to its end in the caller's thread: no loop, the traceback is the caller's own, Ctrl-C
arrives in the middle of it and runs its cleanup.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_blocking(program: Coroutine[Any, Any, T]) -> T:
    """Run `program` to its end in this thread and return its result.

    Raises:
        RuntimeError: the program awaited something other than a blocking port; it was closed.
    """
    try:
        awaited = program.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    program.close()
    raise RuntimeError(f"a program run without an event loop awaited {awaited!r}; programs may await only their port")
