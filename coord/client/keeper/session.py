"""One lease kept alive, and the knowledge of its loss: the state machine behind `coord.port.Session`.

Owns the phase of one lease and its local deadline. Knows no thread, no socket and no key. The deadline counts from when
the last acknowledged renewal was *sent*: the server started counting later than that, so what is called HELD here is
alive there (clocks that differ in rate by less than the margin assumed).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from coord.client.keeper.duties import Backoff, Duty, Grant, Renew, Revoke
from coord.errors import (
    ClosedError,
    CoordError,
    LeaseExists,
    LeaseLost,
    LeaseNotFound,
    OutcomeUnknown,
    RequestRefused,
    SpaceExceeded,
)
from coord.model import LeaseGrant, LeaseState

MARGIN_SHARE = 0.05  # of the TTL; a clock that runs 5 % fast or slow is broken in ways no lock survives
MARGIN_LIMIT = 2.0  # seconds
UNSURE_SHARE = 2 / 3  # of the TTL; the renewal due at half the TTL has then failed for a sixth of it
SERVER_REQUEST_TIMEOUT = 7.0  # seconds after which an etcd server (5 s + 2 election timeouts) drops a proposal
REPORT_SLACK = 1.0  # seconds after a duty's deadline in which the shell must have reported it

_FOREVER = float("inf")


class Phase(enum.Enum):
    """Where a session is in its life; it only ever moves downward in this list."""

    ASKED = "asked"  # not granted yet; nobody holds it
    LIVE = "live"  # granted and renewed
    LOST = "lost"  # no longer provable; being revoked so that its keys go at once
    GONE = "gone"  # the server has no such lease


@dataclass(slots=True)
class Shared:
    """What all machines of one keeper share.

    Attributes:
        lock: a re-entrant lock around every change; any context manager where there is one thread.
        clock: the ownership clock.
        wake: asks the keeper's thread to poll; callable from any thread and from a garbage collection.
        calls: callbacks that wait for the keeper's thread.
    """

    lock: AbstractContextManager[object]
    clock: Callable[[], float]
    wake: Callable[[], None]
    calls: deque[Callable[[], None]] = field(default_factory=deque)


class Session:
    """See `coord.port.Session`. May be used from any thread."""

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_backoff",
        "_callbacks",
        "_cause",
        "_confirming",
        "_deadline",
        "_granting",
        "_lease",
        "_orphan",
        "_phase",
        "_shared",
        "_ttl",
        "_unsure",
        "trouble",
        "wanted",
        "wish",
    )

    def __init__(self, shared: Shared, lease: int, wish: int, now: float) -> None:
        self._shared = shared
        self._lease = lease
        self.wish = wish
        self.wanted: dict[object, Callable[[Session | CoordError], None]] = {}  # who waits for the grant
        self.trouble: CoordError | None = None  # why the last duty failed, for the error of who gives up waiting
        self._phase = Phase.ASKED
        self._ttl = float(wish)
        self._cause = ""
        self._attempt = now  # when the next duty is due; while one is under way, when it counts as lost
        self._deadline = -_FOREVER
        self._unsure = -_FOREVER
        self._granting = False  # a grant was sent, and nothing is known of it
        self._orphan = False  # its grant was never answered, so nothing was ever built on it
        self._confirming = False  # the lease was granted so long ago that it is renewed before it counts
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._backoff = Backoff(first=min(0.1, wish / 20), limit=min(1.0, wish / 8))

    def __repr__(self) -> str:
        return f"<Session {self._lease:x} {self.state.name} left={self.remaining():.1f}s>"

    # -- what everybody may ask, from any thread

    @property
    def lease(self) -> int:
        """Lease id."""
        return self._lease

    @property
    def ttl(self) -> float:
        """Granted time to live in seconds."""
        return self._ttl

    @property
    def phase(self) -> Phase:
        """Where it is in its life, for the keeper and its ledger."""
        return self._phase

    @property
    def proven_until(self) -> float:
        """The instant until which the lease is proven alive, minus infinity when it is lost; changes nothing."""
        return self._deadline

    @property
    def state(self) -> LeaseState:
        """HELD, UNSURE or LOST, judged by the clock at the moment of asking.

        So a process that was stopped and woken sees LOST before it can act, whether or not its keeper has run yet.
        """
        # Without the lock: `_unsure` only grows while the session lives and is minus infinity otherwise.
        now = self._shared.clock()
        if now < self._unsure:
            return LeaseState.HELD
        with self._shared.lock:
            self._judge(now)
            if self._phase is not Phase.LIVE:
                return LeaseState.LOST
            return LeaseState.HELD if now < self._unsure else LeaseState.UNSURE

    @property
    def cause(self) -> str:
        """Why it was lost, empty while it is not."""
        return self._cause if self.state is LeaseState.LOST else ""

    def remaining(self) -> float:
        """Seconds for which the lease is proven alive, 0 when it is lost."""
        now = self._shared.clock()
        with self._shared.lock:
            self._judge(now)
            return max(0.0, self._deadline - now)

    def check(self) -> None:
        """Do nothing while the lease is proven alive.

        Raises:
            LeaseLost: it is LOST.
        """
        if self.state is LeaseState.LOST:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """The error that says how this session was lost."""
        text = f"lease {self._lease:x} was lost: {self._cause}"
        error = LeaseLost(text, cause=self._cause, lease=self._lease)
        error.__cause__ = self.trouble
        return error

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once when the state becomes LOST, on the keeper's thread; at once, here, if it is.

        Returns a function that takes the callback back. The callback must not block.
        """
        token = object()
        with self._shared.lock:
            self._judge(self._shared.clock())
            if self._phase in (Phase.ASKED, Phase.LIVE):
                self._callbacks[token] = callback
                return partial(self._forget, token)
        callback()
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._callbacks.pop(token, None)

    # -- what only the keeper calls, under the lock

    @property
    def wake_at(self) -> float:
        """When `poll` has something to do; infinity for never."""
        if self._phase is Phase.LIVE:
            return min(self._attempt, self._deadline)
        if self._phase is Phase.ASKED and not self.wanted:
            return _FOREVER
        return _FOREVER if self._phase is Phase.GONE else self._attempt

    def poll(self, now: float, duties: list[Duty]) -> None:
        """Add what is due now to `duties`."""
        self._judge(now)
        if now < self.wake_at:
            return
        if self._granting:
            self._abandon(now)
        duty = self._due(now)
        self._attempt = duty.deadline + REPORT_SLACK
        duties.append(duty)

    def _due(self, now: float) -> Duty:
        patience = max(0.25, self._ttl / 8)
        if self._phase is Phase.LOST:
            return Revoke(self, now, now + max(1.0, patience), self._lease)
        if self._phase is Phase.ASKED and not self._confirming:
            self._granting = True
            return Grant(self, now, now + max(1.0, patience), self._lease, self.wish)
        return Renew(self, now, now + patience, self._lease)

    def done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        """Take the answer of a duty. Answers may come late and out of order."""
        self._judge(now)
        if isinstance(duty, Revoke):
            self._revoked(error, now)
        elif self._phase not in (Phase.ASKED, Phase.LIVE):
            pass  # A late answer proves nothing any more: what is lost stays lost.
        elif isinstance(duty, Grant):
            self._granted(duty, result, error, now)
        elif error is None and isinstance(result, int) and result > 0:
            self._alive(duty.sent, result, now)
        elif error is None or isinstance(error, LeaseNotFound):
            self.vanished(now)
        else:
            self._failed(error, now)

    def _granted(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        if isinstance(error, OutcomeUnknown):
            self._abandon(now)
            return
        self._granting = False
        if error is None and isinstance(result, LeaseGrant):
            self._alive(duty.sent, result.ttl, now)
        elif isinstance(error, LeaseExists):
            self.vanished(now)  # Somebody has this id: another one must be asked for.
        elif error is not None:
            self._failed(error, now)

    def _abandon(self, now: float) -> None:
        """The grant has no answer: give this id up and, if somebody waits, go on with another.

        An id is asked for once. A second grant of the same id could arrive after the lease had ended, and bring it back
        with a late claim's key under it that nobody expects any more.
        """
        self.trouble = self.trouble or OutcomeUnknown("the answer to a lease grant never came")
        self._granting = False
        self._orphan = True
        self._phase = Phase.LOST
        self._cause = "unanswered"
        self._attempt = now

    def _alive(self, sent: float, ttl: int, now: float) -> None:
        if now >= sent + ttl - margin(ttl):
            # So slow an answer proves nothing about this moment; a renewal may.
            self._confirming = True
            self._attempt = now
            return
        self._ttl = float(ttl)
        self._deadline = max(self._deadline, sent + ttl - margin(ttl))
        self._unsure = max(self._unsure, sent + ttl * UNSURE_SHARE)
        self._attempt = max(now, sent + ttl / 2)
        self._backoff.reset()
        self.trouble = None
        if self._phase is Phase.ASKED:
            self._phase = Phase.LIVE
            self._tell(self)

    def _failed(self, error: CoordError, now: float) -> None:
        self.trouble = error
        self._attempt = now + self._backoff.next()
        if self._phase is Phase.ASKED and isinstance(error, RequestRefused) and not isinstance(error, SpaceExceeded):
            self._phase = Phase.GONE
            self._cause = "refused"
            self._tell(error)

    def _revoked(self, error: CoordError | None, now: float) -> None:
        if self._phase is not Phase.LOST:
            return
        if error is None or isinstance(error, LeaseNotFound) or self._orphan:
            # One try is enough for a lease without keys: should it exist, it expires.
            self._phase = Phase.GONE
            return
        self.trouble = error
        self._attempt = now + self._backoff.next()

    def vanished(self, now: float) -> None:
        """The server said that it has no such lease; ids are asked for only once, so this is final.

        Who still waits for its grant stays in `wanted`: the keeper asks for another lease on their behalf.
        """
        if self._phase is Phase.LIVE:
            self.lose("expired", now)
        self._cause = self._cause or "expired"
        self._phase = Phase.GONE

    def succeed(self, other: Session, now: float) -> None:
        """Go on for a session whose lease was not granted, no sooner than it would have tried again."""
        self.wanted.update(other.wanted)
        other.wanted.clear()
        if self._phase is Phase.LIVE:
            self._tell(self)
            return
        self.trouble = other.trouble
        self._backoff = other._backoff
        self._attempt = now + self._backoff.next()

    def lose(self, cause: str, now: float) -> None:
        """Make it LOST if it is not yet; the keeper then revokes it."""
        if self._phase not in (Phase.ASKED, Phase.LIVE):
            return
        self._phase = Phase.LOST if self._phase is Phase.LIVE or self._granting or self._confirming else Phase.GONE
        self._cause = cause
        self._deadline = self._unsure = -_FOREVER
        self._attempt = now
        self._backoff.reset()
        self._shared.calls.extend(self._callbacks.values())
        self._callbacks.clear()
        self._tell(ClosedError("the client was closed") if cause == "closed" else self.loss())
        self._shared.wake()

    def inherited(self, now: float) -> None:
        """This is a forked child: the lease is its parent's.

        GONE, since nothing on it is the child's to take out: a child that left the parent's block deleted its key.
        """
        self.lose("forked", now)
        self._phase = Phase.GONE

    def _judge(self, now: float) -> None:
        if self._phase is Phase.LIVE and now >= self._deadline:
            self.lose("unreachable", now)

    def _tell(self, outcome: Session | CoordError) -> None:
        self._shared.calls.extend(partial(callback, outcome) for callback in self.wanted.values())
        self.wanted.clear()


def margin(ttl: float) -> float:
    """Seconds that the local deadline lies before the end of the TTL."""
    return min(MARGIN_LIMIT, ttl * MARGIN_SHARE)
