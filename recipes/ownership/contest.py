"""A name that clients contend for: what locks and elections have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from coord.errors import UsageError
from coord.keys import to_bytes
from coord.model import DEFAULT, Default
from coord.port import Port
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import CALL_SECONDS, Seconds, Timeout, lifetime, seconds
from coord.recipes.ownership.turn import Line, Terms


class Contest:
    """Arguments of a lock or an election, checked, and the queue they mean."""

    what: ClassVar[str] = "a lock"

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Any], object] | None = None,
    ) -> None:
        self._key = to_bytes(name)
        if not self._key:
            raise UsageError(f"the name of {self.what} is empty")
        self._client = client
        self._ttl = lifetime(ttl)
        self._timeout = timeout
        if not isinstance(timeout, Default) and timeout is not None:
            seconds(timeout, "timeout")
        self._on_lost = on_lost
        self._known_line: tuple[Port, Line] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} ttl={self._ttl:g}>"

    @property
    def name(self) -> str:
        """The name as text."""
        return self._key.decode("utf-8", "backslashreplace")

    def _make_line(self, port: Port) -> Line:
        """The queue that it is taken through."""
        return Line(port, self._key)

    def _line(self) -> Line:
        # A client may get another port: the default asyncio client has one for each running loop.
        port = self._client.port
        if self._known_line is None or self._known_line[0] is not port:
            self._known_line = (port, self._make_line(port))
        return self._known_line[1]

    def _terms(self, timeout: Timeout) -> Terms:
        """How long a call waits. Not to wait is about the queue: the requests themselves may take a call's time."""
        chosen = self._timeout if isinstance(timeout, Default) else timeout
        if isinstance(chosen, Default) or chosen is None:
            return Terms(self._ttl, None)
        limit = seconds(chosen, "timeout")
        now = self._client.port.now()
        return Terms(self._ttl, now + (limit or CALL_SECONDS), wait=limit > 0)
