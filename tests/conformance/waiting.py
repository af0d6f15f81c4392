"""Waiting for what other threads and the server do; never for a fixed time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0


def waits_until(condition: Callable[[], object], what: str) -> None:
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.02), f"{what}: not in {PATIENCE} s"
    finally:
        timer.cancel()


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; call the result for what it returned."""
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> Any:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the thread does not end"
        if errors:
            raise errors[0]
        return outcome[0]

    return join
