"""Waiting for what other threads and the server do; never for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until the condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        threading.Event().wait(0.02)
    return found


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
