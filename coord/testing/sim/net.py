"""The simulator's network between clients and server: every request and every answer is a thing of its own.

A request whose sender gave up (deadline, cancellation, broken connection, crash) may still arrive, until the server's
own time-out has passed after the deadline it was sent with; that is the promise the ledger relies on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT
from coord.errors import CallTimeout, CoordError, OutcomeUnknown, Unavailable

_LAST_MOMENT: Final = 0.001  # seconds before a late request could no longer arrive

Done = Callable[[Any, CoordError | None], None]


class Stage(enum.Enum):
    """Where a message is."""

    REQUEST = "request"  # on its way to the server
    ANSWER = "answer"  # on its way back
    OVER = "over"


class Message:
    """One request and its answer."""

    __slots__ = (
        "client",
        "done",
        "error",
        "give_up",
        "late",
        "not_before",
        "ordinal",
        "request",
        "result",
        "stage",
        "write",
    )

    def __init__(
        self, client: int, ordinal: int, request: Callable[[], Any], give_up: float, write: bool, done: Done
    ) -> None:
        self.client = client
        self.ordinal = ordinal
        self.request = request  # what the server does when it arrives
        self.give_up = give_up
        self.write = write
        self.done = done
        self.stage = Stage.REQUEST
        self.late = False  # nobody waits for the answer
        self.not_before = 0.0  # of a late one
        self.result: Any = None
        self.error: CoordError | None = None


class Network:
    """All messages under way."""

    def __init__(self, now: Callable[[], float], number: Callable[[int], int]) -> None:
        self.messages: list[Message] = []
        self._now = now
        self._number = number
        self._count = 0

    def send(self, client: int, request: Callable[[], Any], give_up: float, write: bool, done: Done) -> Message:
        """Put a request on its way; `done` is called once unless it is abandoned before."""
        self._count += 1
        message = Message(client, self._count, request, give_up, write, done)
        self.messages.append(message)
        return message

    def deliver(self, message: Message) -> None:
        """The request reaches the server, or the answer its client."""
        if message.stage is Stage.ANSWER:
            self._over(message)
            message.done(message.result, message.error)
            return
        try:
            message.result = message.request()
        except CoordError as error:
            message.error = error
        if message.late:
            self._over(message)
        else:
            message.stage = Stage.ANSWER

    def break_off(self, message: Message) -> None:
        """The connection breaks: its client is told at once that nobody knows."""
        self.abandon(message)
        message.done(None, OutcomeUnknown("connection lost") if message.write else Unavailable("connection lost"))

    def time_out(self, message: Message) -> None:
        """The client's deadline passed."""
        self.abandon(message)
        message.done(None, OutcomeUnknown("too late") if message.write else CallTimeout("too late"))

    def abandon(self, message: Message) -> None:
        """Nobody waits for it any more; a request may still arrive: soon, later, in the last moment, or never."""
        if message.stage is not Stage.REQUEST:
            self._over(message)
            return
        if message.late:
            return
        message.late = True
        now = self._now()
        last = message.give_up + SERVER_REQUEST_TIMEOUT - _LAST_MOMENT
        when = self._number(4)
        if when == 1 or last <= now:
            self._over(message)
        elif when == 2:
            message.not_before = last
        else:
            message.not_before = now + (last - now) * (when / 8)

    def _over(self, message: Message) -> None:
        if message.stage is not Stage.OVER:
            message.stage = Stage.OVER
            self.messages.remove(message)
