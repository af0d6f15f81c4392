"""Ctrl-C between any two steps of a lock, not only where it waits: nothing may be held for ever by nobody.

Python delivers a signal when it enters a function and when it returns from a built-in one. A profiler is called at just
these moments, and what it raises arrives as an interrupt would.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import coord
from coord.recipes.locks.lock import Lock
from tests.conftest import make_server
from tests.servers import ROOT

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

STATEFUL = tuple(str(ROOT / part) for part in ("coord/recipes", "recipes", "coord/client/keeper", "coord/client/ports"))
SECONDS = 15.0  # a claim that was cut off may arrive so much later


class Interrupt(KeyboardInterrupt):
    """The test's own Ctrl-C."""


class Interrupter:
    """Interrupts the step with this number; `reached` says where that was, empty if there are not so many."""

    def __init__(self, step: int) -> None:
        self._left = step
        self.reached = ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "c_return") or not code.co_filename.startswith(STATEFUL):
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            self.reached = f"{code.co_filename}:{frame.f_lineno} {code.co_name} ({event})"
            raise Interrupt


def acquired(lock: Lock) -> None:
    lock.acquire().release()


def entered(lock: Lock) -> None:
    lock.__enter__()
    sys.setprofile(None)
    lock.__exit__(None, None, None)


def waited_in_vain(lock: Lock) -> None:
    try:
        lock.acquire(timeout=0.02)
    except coord.LockTimeout:
        return


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[coord.Client, coord.Client]]:
    with make_server("etcd34") as server:
        server.start()
        with coord.connect(server.endpoint) as one, coord.connect(server.endpoint) as other:
            yield one, other


@pytest.mark.parametrize("work", [acquired, entered, waited_in_vain])
def test_an_interrupt_anywhere_leaves_no_key(
    clients: tuple[coord.Client, coord.Client], work: Callable[[Lock], None]
) -> None:
    client, other = clients
    acquired(client.lock("warm"))
    name, step = work.__name__, 0
    locks: list[Lock] = []  # alive like those of a module
    reached: dict[str, str] = {}
    while True:
        step += 1
        lock = client.lock(f"{name}/{step}")
        locks.append(lock)
        rival = other.lock(lock.name).acquire() if work is waited_in_vain else None
        interrupter = Interrupter(step)
        sys.setprofile(interrupter)
        try:
            work(lock)
        except Interrupt:
            reached[lock.name] = interrupter.reached
        finally:
            sys.setprofile(None)
            if rival is not None:
                rival.release()
        if not interrupter.reached:
            break
    assert step > 100, "the interrupts came"
    end = time.monotonic() + SECONDS
    gc.collect()
    while (left := other.range(f"{name}/", prefix=True, keys_only=True).items) and time.monotonic() < end:
        time.sleep(0.1)
    assert [reached.get(item.name.rpartition("/")[0]) for item in left] == []
