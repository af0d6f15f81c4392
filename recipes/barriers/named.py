"""What all barriers have in common: a name, and how long a call waits."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from coord.errors import CallTimeout, UsageError
from coord.keys import to_bytes
from coord.model import Default
from coord.port import Port
from coord.recipes.common.client import HasPrograms, client_deadline
from coord.recipes.common.durations import CALL_SECONDS, Timeout, seconds


class Limit(NamedTuple):
    """How long a call waits.

    Attributes:
        deadline: instant at which it gives up, None for never.
        wait: False to give up as soon as it is clear that there is something to wait for.
    """

    deadline: float | None
    wait: bool = True


def limit(port: Port, timeout: Timeout) -> Limit:
    """What a caller's `timeout` means for a wait: DEFAULT and None for ever, 0 not at all.

    Not to wait is about the others; the requests themselves may take a call's time.

    Raises:
        UsageError: `timeout` is no duration.
    """
    if isinstance(timeout, Default) or timeout is None:
        return Limit(None)
    number = seconds(timeout, "timeout")
    return Limit(port.now() + (number or CALL_SECONDS), wait=number > 0)


class Named:
    """Arguments of a barrier, checked."""

    what: ClassVar[str]

    def __init__(self, client: HasPrograms, name: str | bytes) -> None:
        self._key = to_bytes(name)
        if not self._key:
            raise UsageError(f"the name of {self.what} is empty")
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The name as text."""
        return as_text(self._key)

    def _limit(self, timeout: Timeout) -> Limit:
        return limit(self._client.port, timeout)

    def _deadline(self, timeout: Timeout) -> float | None:
        """When a call that does not wait for others gives up."""
        return client_deadline(self._client, timeout)


def as_text(name: bytes) -> str:
    """A name for messages."""
    return name.decode("utf-8", "backslashreplace")


def too_late(what: str, name: bytes) -> CallTimeout:
    """The error of a wait that was given up."""
    text = as_text(name)
    return CallTimeout(f"{what} {text!r}: what was waited for did not come in time", name=text)
