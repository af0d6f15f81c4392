"""A client, as far as recipes are concerned."""

from __future__ import annotations

from typing import Any, Final, Protocol

from coord.model import Default
from coord.port import Port
from coord.recipes.common.durations import Timeout, call_deadline

NO_WAIT: Final = 1.0  # seconds that one request may take in a call that does not wait


class HasPort(Protocol):
    """A client that programs run on."""

    @property
    def port(self) -> Port:
        """What its programs run on."""
        ...


class Background(Protocol):
    """What `coord.client.ports.background` gives for a program it runs."""

    @property
    def running(self) -> bool:
        """True until it has ended."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What it failed with; None while it runs, and if it ended by itself or was stopped."""
        ...

    def stop(self, *, timeout: float | None = ...) -> Any:
        """Have it end, True if it did within `timeout` seconds; to be awaited on asyncio."""
        ...

    def wait(self, *, timeout: float | None = ...) -> Any:
        """Wait for its end, and raise what it failed with; to be awaited on asyncio.

        Raises:
            CallTimeout: it goes on.
            BaseException: what it failed with.
        """
        ...


class HasPrograms(HasPort, Protocol):
    """A client that runs long-lived programs too."""

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take, None for ever."""
        ...

    def background(self, program: Any, *, name: str) -> Background:
        """Run a long-lived program."""
        ...


def client_deadline(client: HasPrograms, timeout: Timeout) -> float | None:
    """When a call gives up. Without waiting (0) one request may still take its time, as in every call of a client.

    Raises:
        UsageError: `timeout` is no duration.
    """
    chosen = client.timeout if isinstance(timeout, Default) else timeout
    return call_deadline(client.port, NO_WAIT if chosen == 0 else chosen)
