"""The keeper: keeps leases alive, declared keys in place, and withdraws what nobody owns any more.

A state machine. Knows no thread and no socket; a shell (the keeper thread, or the simulator) drives it:

1. ``for duty in keeper.poll(now())``: send each at once, beside the others, giving up at ``duty.deadline``;
2. report each exactly once: ``keeper.on_done(duty, result, error, now())``;
3. poll again at ``keeper.next_wake()``, or as soon as `wake` was called.

**Thread rule.** `poll`, `on_done` and `close` belong to the shell's one thread, and callbacks run there, outside of the
lock: on_lost, the outcome of `want`, and what declarations' subscribers gave. Everything else may be called from any
thread. `wake` must be callable from any thread and from a garbage collection (`queue.SimpleQueue.put` is,
`threading.Condition` is not).
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

from coord import clock as ownership_clock
from coord.client.keeper.declaring import Declaration, Stage
from coord.client.keeper.duties import Duty
from coord.client.keeper.ledger import Ledger, Ticket
from coord.client.keeper.session import Phase, Session, Shared
from coord.errors import ClosedError, CoordError, UsageError
from coord.model import LeaseState

logger = logging.getLogger("coord.keeper")

_FOREVER: Final = float("inf")

Outcome = Session | CoordError


def choose_lease() -> int:
    """A positive lease id that nobody has: 63 random bits."""
    return secrets.randbits(63) or 1


class Keeper:
    """Sessions, ledger and declarations of one client. See the module text."""

    def __init__(
        self,
        *,
        wake: Callable[[], None],
        lock: AbstractContextManager[object] | None = None,
        clock: Callable[[], float] = ownership_clock.now,
        lease_ids: Callable[[], int] = choose_lease,
    ) -> None:
        self._shared = Shared(lock if lock is not None else nullcontext(), clock, wake)
        self._lease_ids = lease_ids
        self._sessions: list[Session] = []  # every session that is not GONE
        self._declarations: list[Declaration] = []
        self._ledger = Ledger(self._shared)
        self._planned = _FOREVER  # when the thread polls next unless it is woken
        self._closing = _FOREVER  # when close gives up; infinity while it is open
        self._cause: CoordError | None = None

    def __repr__(self) -> str:
        return f"<Keeper sessions={len(self._sessions)} tickets={len(self._ledger)} kept={len(self._declarations)}>"

    # -- sessions, from any thread

    def live(self, ttl: float) -> Session | None:
        """The session of this time to live that is not LOST, if there is one."""
        wish = math.ceil(ttl)
        with self._shared.lock:
            for session in self._sessions:
                if session.wish == wish and session.phase is Phase.LIVE and session.state is not LeaseState.LOST:
                    return session
        return None

    def want(self, ttl: float, callback: Callable[[Outcome], None]) -> Callable[[], None]:
        """Ask for a session of this time to live.

        `callback` is called once, on the keeper's thread, with a live session or with the error that makes one
        impossible; not before the server can be reached. Returns a function that takes the wish back.

        Raises:
            ClosedError: the keeper was closed.
        """
        token = object()
        with self._shared.lock:
            self._check_open()
            session = self._asked_for(math.ceil(ttl))
            if session.phase is Phase.LIVE:
                self._shared.calls.append(partial(callback, session))
            else:
                session.wanted[token] = callback
            self._shared.wake()
        return partial(self._unwant, token)

    def _unwant(self, token: object) -> None:
        with self._shared.lock:
            for session in self._sessions:
                session.wanted.pop(token, None)

    def _asked_for(self, wish: int) -> Session:
        for session in self._sessions:
            if session.wish != wish:
                continue
            if session.phase is Phase.ASKED:
                return session
            if session.phase is Phase.LIVE and session.state is not LeaseState.LOST:
                return session
        session = Session(self._shared, self._lease_ids(), wish, self._shared.clock())
        self._sessions.append(session)
        return session

    def trouble(self, ttl: float) -> CoordError | None:
        """Why no session of this time to live was granted yet, for the error of who gives up waiting."""
        wish = math.ceil(ttl)
        return next((each.trouble for each in self._sessions if each.wish == wish and each.trouble), None)

    def lease_gone(self, lease: int) -> None:
        """A server said that this lease does not exist; its session is LOST ("expired") at once."""
        with self._shared.lock:
            for session in self._sessions:
                if session.lease == lease:
                    session.vanished(self._shared.clock())
            self._shared.wake()

    def lose(self, session: Session, cause: str) -> None:
        """Give a session up on purpose; its lease is revoked."""
        with self._shared.lock:
            session.lose(cause, self._shared.clock())

    def lose_all(self, cause: str) -> None:
        """Give all sessions up: their history is gone ("history"), or who renews them ("closed")."""
        with self._shared.lock:
            for session in self._sessions:
                session.lose(cause, self._shared.clock())

    def forked(self, lock: AbstractContextManager[object]) -> None:
        """This is a child process: every session is the parent's, and a thread that is not here may hold the lock.

        No callback runs: nothing of what the child inherited was ever its own.
        """
        self._shared.lock = lock
        self._shared.wake = _nobody
        self._declarations.clear()
        now = self._shared.clock()
        for session in self._sessions:
            session.inherited(now)
        self._shared.calls.clear()

    # -- ledger, from any thread

    def ticket(self, session: Session, name: bytes) -> Ticket:
        """A fresh ticket below `name`, belonging to the running call.

        Raises:
            LeaseLost: the session is LOST.
            ClosedError: the keeper was closed.
        """
        with self._shared.lock:
            self._check_open()
            return self._ledger.enter(session, name)

    def claiming(self, ticket: Ticket, give_up: float) -> None:
        """To be called before each claim is sent: its sender gives up at `give_up`."""
        with self._shared.lock:
            self._ledger.claiming(ticket, give_up)

    def answered(self, ticket: Ticket) -> None:
        """The claim was answered, or is known not to have happened."""
        with self._shared.lock:
            self._ledger.answered(ticket)

    def hold(self, ticket: Ticket, guard: object) -> None:
        """Give the ticket to `guard`, which must be weakly referencable; it leaves when the guard is collected."""
        with self._shared.lock:
            self._ledger.hold(ticket, guard)

    def limit(self, ticket: Ticket, until: float, over: Callable[[], None]) -> bool:
        """Withdraw the ticket at `until` though its guard is alive, and call `over`, on the keeper's thread.

        Returns False if the guard does not have it any more.
        """
        with self._shared.lock:
            limited = self._ledger.limit(ticket, until, over)
            self._hurry()
        return limited

    def leave(self, ticket: Ticket, due: float) -> bool:
        """The ticket is wanted no more: from `due` on the keeper deletes it, until acknowledged.

        Returns True if the key may exist, so that the caller should try to delete it until `due` (see `deleted`).
        """
        with self._shared.lock:
            waits = self._ledger.leave(ticket, due)
            self._hurry()
        return waits

    def deleted(self, ticket: Ticket, sent: float) -> None:
        """A deletion by the caller, sent at `sent`, was acknowledged."""
        with self._shared.lock:
            self._ledger.deleted(ticket, sent)
            self._hurry()

    @property
    def tickets(self) -> list[Ticket]:
        """What stands in the ledger, oldest first (a copy)."""
        with self._shared.lock:
            return self._ledger.tickets

    # -- declarations, from any thread

    def declare(self, key: bytes, value: bytes, ttl: float) -> Declaration:
        """Keep `key` = `value` in place under a lease of `ttl` seconds until it is withdrawn.

        Raises:
            UsageError: it is kept already.
            ClosedError: the keeper was closed.
        """
        with self._shared.lock:
            self._check_open()
            declaration = Declaration(self._shared, key, value, ttl)
            for other in self._declarations:
                if other.key == key and other.stage is Stage.KEPT:
                    raise UsageError(f"this client keeps {key!r} in place already")
            for other in self._declarations:
                if other.key == key and other.stage is Stage.LEAVING:
                    other.precede(declaration)
            self._declarations.append(declaration)
            self._shared.wake()
            return declaration

    @property
    def declarations(self) -> list[Declaration]:
        """What is kept in place, or leaving, oldest first (a copy)."""
        with self._shared.lock:
            return list(self._declarations)

    # -- the shell's thread

    def poll(self, now: float) -> list[Duty]:
        """What is due now; also runs callbacks that became due."""
        duties: list[Duty] = []
        with self._shared.lock:
            self._serve_declarations(now, duties)
            for session in self._sessions:
                session.poll(now, duties)
            if self._closing == _FOREVER:
                self._ledger.poll(now, duties)
            self._sweep()
        self._run_calls()
        return duties

    def on_done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        """Take the answer of a duty that `poll` handed out."""
        with self._shared.lock:
            duty.machine.done(duty, result, error, now)
            self._sweep()
        self._run_calls()

    def next_wake(self) -> float | None:
        """When to poll next, None if there is nothing to do until `wake` is called."""
        with self._shared.lock:
            if self._shared.calls:
                return -_FOREVER
            earliest = min((each.wake_at for each in self._sessions), default=_FOREVER)
            earliest = min(earliest, self._closing)  # then it is closed, however late the next attempt would be
            if self._closing == _FOREVER:
                earliest = min(earliest, self._ledger.wake_at)
            for declaration in self._declarations:
                earliest = min(earliest, -_FOREVER if self._must_serve(declaration) else declaration.wake_at())
            self._planned = earliest
        return earliest if earliest < _FOREVER else None

    def close(self, give_up: float) -> None:
        """Give everything up; poll until `closed`, which it is at `give_up` at the latest.

        Revoking the leases takes every ticket and every declared key out of the store.
        """
        with self._shared.lock:
            if self._closing < _FOREVER:
                return
            self._closing = give_up
            now = self._shared.clock()
            for declaration in self._declarations:
                declaration.end(ClosedError("the client was closed"))
            self._declarations.clear()
            for session in self._sessions:
                session.lose("closed", now)
            self._sweep()
        self._run_calls()

    @property
    def closed(self) -> bool:
        """True if it was closed and nothing is left to do, or the time for it is over."""
        with self._shared.lock:
            if self._closing == _FOREVER:
                return False
            return not self._sessions or self._shared.clock() >= self._closing

    # -- inside, under the lock

    def _hurry(self) -> None:
        """Wake the thread if it would sleep for longer than the ledger allows, and only then.

        Each wake-up takes the interpreter from the caller in the middle of its release: two of them made a lock cycle
        a fifth longer.
        """
        due = self._ledger.wake_at
        if due < self._planned:
            self._planned = due
            self._shared.wake()

    def _check_open(self) -> None:
        if self._closing < _FOREVER:
            raise ClosedError("the client was closed")

    def _must_serve(self, declaration: Declaration) -> bool:
        return declaration.wants_session and not any(declaration in each.wanted for each in self._sessions)

    def _serve_declarations(self, now: float, duties: list[Duty]) -> None:
        for declaration in self._declarations:
            if declaration.wants_session:
                session = self._asked_for(math.ceil(declaration.ttl))
                if session.phase is Phase.LIVE:
                    declaration.adopt(session)
                else:
                    session.wanted.setdefault(declaration, _ignore)
            declaration.poll(now, duties)
        self._declarations = [each for each in self._declarations if each.stage is not Stage.ENDED]

    def _sweep(self) -> None:
        over = [each for each in self._sessions if each.phase in (Phase.LOST, Phase.GONE)]
        if not over:
            return
        self._sessions = [each for each in self._sessions if each.phase is not Phase.GONE]
        for session in over:
            if session.phase is Phase.GONE:
                self._ledger.forget(session)
            if session.wanted and self._closing == _FOREVER:
                self._asked_for(session.wish).succeed(session, self._shared.clock())
                self._shared.wake()

    def _run_calls(self) -> None:
        calls = self._shared.calls
        while calls:
            call = calls.popleft()
            try:
                call()
            except Exception:  # a user's on_lost must not end the renewal of everything else
                logger.exception("a callback of the keeper failed")


def _nobody() -> None:
    """Whom a keeper wakes that has no thread."""


def _ignore(_outcome: Outcome) -> None:
    """A declaration only needs its session asked for; it looks for it whenever it is polled."""
