"""Which endpoint the next attempt goes to. A state machine without clock, sockets and threads.

The first choice is random, so that many clients spread; it stays while it works, because a connection is dear and a
member that answered knows the newest revision. One that failed rests for a while that doubles with every further
failure; resting endpoints are still used when there is no other, so a single endpoint is never shut out.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Final

from coord.client.connection.urls import Endpoint
from coord.errors import UsageError

REST_FIRST: Final = 0.5  # seconds; a restarting member is back in about that time
REST_LIMIT: Final = 30.0  # seconds; so long may a healed member stay unused while others work


class _State:
    """One endpoint: how often in a row it failed and until when it rests."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0


class Endpoints:
    """The known endpoints and their health. Not safe for several threads at once; the connection holds a lock."""

    def __init__(self, endpoints: Sequence[Endpoint], rng: random.Random) -> None:
        self._rng = rng
        self._states: dict[Endpoint, _State] = {}
        self._current: Endpoint | None = None
        self.replace(endpoints)

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Every known endpoint, in the order given."""
        return tuple(self._states)

    @property
    def current(self) -> Endpoint | None:
        """The endpoint that calls stick to, None before the first choice and after a failure."""
        return self._current

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """Use these from now on; what is known of those that stay is kept.

        Raises:
            UsageError: there is none.
        """
        if not endpoints:
            raise UsageError("at least one endpoint is needed")
        self._states = {endpoint: self._states.get(endpoint) or _State() for endpoint in endpoints}
        if self._current not in self._states:
            self._current = None

    def choose(self, now: float, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next attempt.

        Args:
            now: instant on the caller's clock.
            avoid: tried in vain by this call; taken only when nothing else is there.
        """
        if self._current is not None and self._current not in avoid:
            return self._current
        awake = [e for e, state in self._states.items() if state.until <= now]
        candidates = [e for e in awake if e not in avoid] or [e for e in self._states if e not in avoid] or awake
        if candidates and candidates[0] in awake:
            chosen = self._rng.choice(candidates)
        else:
            chosen = min(candidates or self._states, key=lambda e: self._states[e].until)
        self._current = chosen
        return chosen

    def worked(self, endpoint: Endpoint) -> None:
        """An answer came from there."""
        state = self._states.get(endpoint)
        if state is not None:
            state.failures = 0
            state.until = 0.0

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """No answer came from there; let it rest."""
        state = self._states.get(endpoint)
        if state is None:
            return
        # Many calls fail together when a connection breaks; that is one failure of the endpoint.
        if state.until <= now:
            state.failures += 1
            rest = min(REST_LIMIT, REST_FIRST * 2.0 ** min(state.failures - 1, 10))
            state.until = now + rest * (0.5 + self._rng.random() / 2)
        if self._current == endpoint:
            self._current = None

    def others(self, endpoint: Endpoint, now: float, avoid: Collection[Endpoint] = ()) -> bool:
        """True if an endpoint other than this and those to avoid is not resting."""
        # A copy, since the connection asks without its lock; a stale answer only shifts a deadline.
        states = self._states
        return any(state.until <= now and e != endpoint and e not in avoid for e, state in tuple(states.items()))
