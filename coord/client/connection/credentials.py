"""The token of a user: when it must be fetched and when it is worthless. Pure; the connections do the calls.

A server forgets a simple token some minutes after its last use and a JWT at a fixed time, and both after changes of
users. Every refusal that names the token leads to one login for all calls that wait for it; age is watched so that a
client that was idle does not pay a refused request first.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

IDLE_LIMIT: Final = 240.0  # seconds; etcd forgets a simple token 300 s after its last use
EXPIRY_SHARE: Final = 0.1  # of a JWT's life is left when it is renewed

Metadata = tuple[tuple[str, str], ...]


class Login:
    """User, password and the present token. Changed only under the connection's login lock.

    Attributes:
        user: name, None for anonymous use.
        password: its password.
        metadata: what to send with each call, None if there is no token.
        generation: number of logins so far; a refused call names the one it used.
    """

    __slots__ = ("_disabled", "_expires", "_used", "generation", "metadata", "password", "user")

    def __init__(self, user: str | None, password: str | None) -> None:
        self.user = user
        self.password = password
        self.metadata: Metadata | None = None
        self.generation = 0
        self._disabled = False
        self._used = 0.0
        self._expires = float("inf")

    def __repr__(self) -> str:
        return f"<Login user={self.user!r} {'with' if self.metadata else 'without'} token>"

    @property
    def known(self) -> bool:
        """A user name was given."""
        return self.user is not None

    def needed(self, now: float) -> bool:
        """True if a token must be fetched before the next request; counts as its use otherwise."""
        if self.user is None or self._disabled:
            return False
        if self.metadata is None or now >= self._expires or now - self._used >= IDLE_LIMIT:
            return True
        self._used = now
        return False

    def accepted(self, token: str, now: float, wall: float) -> None:
        """The server gave a token."""
        self.metadata = (("token", token),)
        self.generation += 1
        self._disabled = False
        self._used = now
        expires = jwt_expiry(token)
        life = float("inf") if expires is None else expires - wall
        # A server whose clock is behind seems to hand out dead tokens; then only refusals tell.
        self._expires = now + life * (1 - EXPIRY_SHARE) if life > 0 else float("inf")

    def not_enabled(self) -> None:
        """The server has authentication off: send no token until it complains."""
        self.metadata = None
        self.generation += 1
        self._disabled = True

    def refused(self, generation: int) -> None:
        """A request that used the token of `generation` was refused for it; a newer token stays."""
        if generation == self.generation:
            self.metadata = None
            self._disabled = False


def jwt_expiry(token: str) -> float | None:
    """When a JWT expires (seconds since the epoch), None if the token is not one or does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return float(expires) if isinstance(expires, (int, float)) else None
