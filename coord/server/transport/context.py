"""What a handler knows of its call besides the request. No transport in here: an adapter brings its own `Call`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from coord.statuses import Status

_request_ids = itertools.count(1)


class Call(Protocol):
    """What an adapter knows of one call; the names are grpcio's, so that its context is one as it stands."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """Pairs of lower-case key and value."""
        ...

    def peer(self) -> str:
        """Address of the client."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds the client still waits, None for ever."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls.

    Attributes:
        user: user name, empty without authentication.
        auth_revision: auth revision that the user's token was made at.
        common_name: subject common name of the client's certificate, empty without one.
    """

    user: str = ""
    auth_revision: int = 0
    common_name: str = ""


ANONYMOUS = Identity()


class Context:
    """One call. Metadata, peer and deadline are read only when asked for: most calls need none of them."""

    __slots__ = ("_ending", "call", "cancelled", "ended", "identity", "request_id")

    def __init__(self, call: Call) -> None:
        self.call = call
        self._ending: Callable[[], object] | None = None
        self.request_id = next(_request_ids)
        self.identity = ANONYMOUS
        self.cancelled = False
        self.ended: Status | None = None

    @property
    def metadata(self) -> dict[str, str | bytes]:
        """Metadata by key; of a repeated key the first value counts, as in etcd."""
        found: dict[str, str | bytes] = {}
        for key, value in self.call.invocation_metadata() or ():
            found.setdefault(key, value)
        return found

    @property
    def wants_leader(self) -> bool:
        """True if the client would rather have an error than wait for a leader."""
        return any(key == "hasleader" and value == "true" for key, value in self.call.invocation_metadata() or ())

    @property
    def peer(self) -> str:
        """Address of the client."""
        return self.call.peer()

    @property
    def remaining(self) -> float | None:
        """Seconds the client still waits, None for ever."""
        return self.call.time_remaining()

    def on_end(self, ending: Callable[[], object]) -> None:
        """Have `ending` called when the server ends this call; adapters of streams set it."""
        self._ending = ending

    def end(self, status: Status) -> None:
        """End a stream from the server's side with `status`; the first status counts."""
        if self.ended is None:
            self.ended = status
            if self._ending is not None:
                self._ending()


class PeerGone(Exception):
    """The client left while something was sent to it."""


class Stream(Protocol):
    """The messages of one stream, both ways."""

    async def receive(self) -> Any:
        """The next request, None when the client has no more (it may go on listening).

        Raises:
            Refused: the bytes are no message of the method.
        """
        ...

    async def send(self, message: Any) -> None:
        """Send a message or its encoding; returns when the peer's window has room, so a slow peer waits alone.

        Raises:
            PeerGone: the client left.
        """
        ...
