"""What a forked child must know: that it is one.

A child inherits sockets, locks and the memory of threads that do not exist in it. Inherited channels must never be
closed (that would speak on the parent's connections), so they are kept alive here and forgotten. `generation` is
compared by everything that holds such things.

grpc's own fork support is not relied on: with ``grpc.use_local_subchannel_pool=1`` a new channel works in the child,
while grpc.aio crashes or hangs there if it was live in the parent.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Final

from coord.errors import ForkedError

generation = 0
"""Number of forks between the first process and this one."""

aio_lost = False
"""True in a child whose parent had grpc.aio live when it forked."""

_leaked: Final[list[object]] = []
_aio_loops: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()
_aio_open: Final[set[int]] = set()


def leak(*things: object) -> None:
    """Keep inherited things alive for ever, so that nothing of theirs runs, not even a destructor."""
    _leaked.extend(things)


def aio_opened(owner: object, loop: asyncio.AbstractEventLoop) -> None:
    """A grpc.aio channel of `owner` exists in `loop`."""
    _aio_loops.add(loop)
    _aio_open.add(id(owner))


def aio_closed(owner: object) -> None:
    """All channels of `owner` are closed."""
    _aio_open.discard(id(owner))


def check_aio() -> None:
    """Do nothing where grpc.aio may be used.

    Raises:
        ForkedError: this is a child of a process in which grpc.aio was live; using it would crash or hang.
    """
    if aio_lost:
        raise ForkedError(
            "grpc.aio was in use when this process was forked and cannot work here; start workers before using the"
            " asyncio client, use multiprocessing's 'spawn', or use the blocking client in this process"
        )


def _after_fork_in_child() -> None:
    global generation, aio_lost
    generation += 1
    if _aio_open or any(not loop.is_closed() for loop in _aio_loops):
        aio_lost = True


os.register_at_fork(after_in_child=_after_fork_in_child)
