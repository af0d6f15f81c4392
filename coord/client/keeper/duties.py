"""What the keeper asks its shell to do: plain records, safe to repeat.

The shell sends each duty at once and beside the others (never one after another: a slow one would delay a renewal),
gives up at `deadline`, and reports every duty exactly once with `Keeper.on_done`. What each result must be:

========  ======================================================================
Grant     `coord.model.LeaseGrant`
Renew     int, the TTL of the answer (0 or less: the lease is gone)
Revoke    anything
Commit    `coord.model.TxnResult`
========  ======================================================================

An error is a `CoordError`; its type says whether the duty may have happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from coord.errors import CoordError
from coord.ops import Txn


class Machine(Protocol):
    """The part of the keeper that a duty's answer goes back to."""

    def done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        """Take the answer of a duty this machine gave out."""
        ...


@dataclass(slots=True, eq=False)
class Duty:
    """One request. `sent` is the instant it was handed out, so never later than when it left this process."""

    machine: Machine
    sent: float
    deadline: float


@dataclass(slots=True, eq=False)
class Grant(Duty):
    """Make lease `lease` with `ttl` seconds.

    The id is chosen here, so that asking again after a lost answer cannot make a second lease.
    """

    lease: int
    ttl: int


@dataclass(slots=True, eq=False)
class Renew(Duty):
    """Send one keep-alive for `lease`."""

    lease: int


@dataclass(slots=True, eq=False)
class Revoke(Duty):
    """Revoke `lease` and with it every key attached to it."""

    lease: int


@dataclass(slots=True, eq=False)
class Commit(Duty):
    """Commit `request`: deletions of tickets used once, or the put or deletion of a declared key."""

    request: Txn


@dataclass(slots=True)
class Backoff:
    """Pauses that double up to a limit; in seconds."""

    first: float
    limit: float
    pause: float = 0.0

    def next(self) -> float:
        """The pause before the next attempt."""
        self.pause = min(self.limit, self.pause * 2 or self.first)
        return self.pause

    def reset(self) -> None:
        """An attempt succeeded: begin with the shortest pause again."""
        self.pause = 0.0
