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
import threading
import time
import weakref
from typing import Final

from coord.errors import ForkedError

generation = 0
"""Number of forks between the first process and this one."""

aio_lost = False
"""True in a child whose parent had grpc.aio live when it forked."""

GATE_SECONDS: Final = 0.3
"""So long a fork waits for calls under way: they last a millisecond, but one to a frozen server must not stop it."""

_calling: Final[set[int]] = set()
_gate = threading.Event()
_gate.set()
_forker = 0  # identity of the thread that is forking
_leaked: Final[list[object]] = []
_aio_loops: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()
_aio_open: Final[weakref.WeakSet[object]] = weakref.WeakSet()


def leak(*things: object) -> None:
    """Keep inherited things alive for ever, so that nothing of theirs runs, not even a destructor."""
    _leaked.extend(things)


def enter() -> None:
    """This thread goes into grpc; waits while a fork is under way.

    A child inherits the locks that threads held inside of grpc at that moment, and hangs or aborts at the first one it
    needs: grpc prepares itself for a fork only if no thread is inside.
    """
    me = threading.get_ident()
    _calling.add(me)
    while not _gate.is_set():
        # The thread that forks may itself come by here: in its own hooks, or from a destructor.
        if _forker == me:
            return
        _calling.discard(me)
        _gate.wait()
        _calling.add(me)


def leave() -> None:
    """This thread came back from grpc."""
    _calling.discard(threading.get_ident())


def aio_opened(owner: object, loop: asyncio.AbstractEventLoop) -> None:
    """A grpc.aio channel of `owner` exists in `loop`."""
    _aio_loops.add(loop)
    _aio_open.add(owner)


def aio_closed(owner: object) -> None:
    """All channels of `owner` are closed."""
    _aio_open.discard(owner)


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


def _before_fork() -> None:
    global _forker
    _forker = threading.get_ident()
    _gate.clear()
    end = time.monotonic() + GATE_SECONDS
    while _calling - {_forker} and time.monotonic() < end:
        time.sleep(0.0002)  # the hook runs without any other thread's help; there is nothing to wait on


def _after_fork_in_parent() -> None:
    global _forker
    _forker = 0
    _gate.set()


def _after_fork_in_child() -> None:
    global generation, aio_lost, _gate, _forker
    generation += 1
    _leaked.append(_gate)
    _gate = threading.Event()
    _gate.set()
    _forker = 0
    _calling.clear()
    if _aio_open or any(not loop.is_closed() for loop in _aio_loops):
        aio_lost = True


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
