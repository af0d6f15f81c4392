"""Declared keys: kept in place under a live lease, put again under a new one after a loss.

Owns one key's wanted value and what of it is known to be in the store. Knows no thread and no socket. Registrations,
memberships and configuration heal in this way; locks and leadership never do.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Final

from coord.client.keeper.duties import Backoff, Commit, Duty
from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT, Session, Shared
from coord.errors import (
    CallTimeout,
    ClosedError,
    CoordError,
    LeaseNotFound,
    OutcomeUnknown,
    PermissionDenied,
    RequestRefused,
    RequestTooLarge,
)
from coord.model import LeaseState, TxnResult
from coord.ops import Attribute, Compare, Delete, Get, Put, Relation, Txn
from coord.statuses import INVALID_ARGUMENT

PUT_DEADLINE = 5.0  # seconds for each put or deletion by the keeper

_FOREVER: Final = float("inf")


class Stage(enum.Enum):
    """What is wanted of a declared key."""

    KEPT = "kept"
    LEAVING = "leaving"  # withdrawn, and the deletion is not acknowledged yet
    ENDED = "ended"


class Declaration:
    """One declared key. `update`, `withdraw` and the properties may be used from any thread."""

    def __init__(self, shared: Shared, key: bytes, value: bytes, ttl: float) -> None:
        self.key = key
        self.ttl = ttl
        self.stage = Stage.KEPT
        self.session: Session | None = None  # the session it is, or is to be, put under
        self._shared = shared
        self._value = value
        self._version = 1  # counts values wanted
        self._stored = 0  # the version known to be in the store under `session`
        self._farewell: bytes | None = None  # put before the deletion, once
        self._error: CoordError | None = None
        self._trouble: CoordError | None = None
        self._under_way: Duty | None = None  # one at a time: two that overtake each other would leave the older value
        self._late_until = -_FOREVER  # a put without an answer may still arrive until then
        self._newest = 0  # every put of ours that was answered made this revision or an older one
        self._successor: Declaration | None = None  # declared while this one was leaving
        self._blocked_by: Declaration | None = None  # whose successor it is
        self._due = -_FOREVER
        self._listeners: dict[object, Callable[[], None]] = {}
        self._backoff = Backoff(first=0.1, limit=2.0)

    def __repr__(self) -> str:
        return f"<Declaration {self.key!r} {self.stage.name} lease={self.lease or 0:x}>"

    @property
    def lease(self) -> int | None:
        """The lease under which the latest value is known to be in the store, None while it is not."""
        session = self.session
        if self._stored != self._version or session is None or session.state is LeaseState.LOST:
            return None
        return session.lease

    @property
    def disputed(self) -> bool:
        """True while something that was sent long ago may have replaced it, or may do so yet."""
        return self._late_until > -_FOREVER

    @property
    def error(self) -> CoordError | None:
        """Why the keeper stopped trying: refused for good, withdrawn or closed."""
        return self._error

    @property
    def trouble(self) -> CoordError | None:
        """What the last request ended with, for the error of who gives up waiting."""
        return self._trouble

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on the keeper's thread whenever `lease`, `error` or `stage` may have changed.

        Returns a function that takes the callback back. The callback must not block.
        """
        token = object()
        with self._shared.lock:
            self._listeners[token] = callback
        return partial(self._unsubscribe, token)

    def _unsubscribe(self, token: object) -> None:
        self._listeners.pop(token, None)

    def update(self, value: bytes) -> None:
        """Replace the value; the keeper puts it as soon as it can.

        Raises:
            ClosedError: the client was closed, or the declaration was withdrawn.
        """
        with self._shared.lock:
            if self.stage is not Stage.KEPT:
                raise self._error or ClosedError("the declaration was withdrawn")
            self._value = value
            self._version += 1
            self._error = None
            self._due = -_FOREVER
            self._shared.wake()

    def withdraw(self, farewell: bytes | None = None) -> None:
        """Take the key out of the store; the keeper goes on until that is acknowledged (`stage` is then ENDED).

        A farewell is put in its place first, if it can be, so that who watches can tell this from an expired lease.
        """
        with self._shared.lock:
            if self.stage is not Stage.KEPT:
                return
            self._farewell = farewell
            self.stage = Stage.LEAVING
            self._error = ClosedError("the declaration was withdrawn")
            self._due = -_FOREVER
            self._tell()
            self._shared.wake()

    # -- machine, called by the keeper under its lock

    @property
    def wants_session(self) -> bool:
        """True if it can do nothing before it has a live session."""
        return (
            self.stage is Stage.KEPT
            and self._error is None
            and (self.session is None or self.session.state is LeaseState.LOST)
        )

    def precede(self, successor: Declaration) -> None:
        """The key was declared anew while this one leaves: it is the successor's when nothing is under way any more."""
        self._successor = successor
        successor._blocked_by = self
        if self._under_way is None:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._successor is not None:
            self._successor._blocked_by = None
            self._successor._late_until = self._late_until
            self.end(ClosedError("the declaration was withdrawn"))

    def adopt(self, session: Session) -> None:
        """Keep the key under this live session from now on."""
        self.session = session
        self._stored = 0
        self._due = -_FOREVER

    def end(self, error: CoordError) -> None:
        """The lease with the key is revoked or gone, and nobody goes on."""
        self.stage = Stage.ENDED
        self._error = error
        self._tell()

    def wake_at(self) -> float:
        """When `poll` has something to do; infinity for never."""
        if self._under_way is not None or self._blocked_by is not None:
            return _FOREVER
        if self.stage is Stage.LEAVING:
            return self._due
        # What wants a session is served when there is one; until then the keeper would poll it without a pause.
        if self.stage is Stage.ENDED or self._error is not None or self.wants_session:
            return _FOREVER
        if self._stored != self._version:
            return self._due
        # Stored, but what came late may have replaced it: it is put once more when nothing can come any more.
        return max(self._late_until, self._due) if self._late_until > -_FOREVER else _FOREVER

    def poll(self, now: float, duties: list[Duty]) -> None:
        """Add the put or the deletion that is due."""
        if now < self.wake_at():
            return
        session = self.session
        if session is None:
            self.end(ClosedError("the declaration was withdrawn"))
            return
        deadline = now + PUT_DEADLINE
        if self.stage is Stage.LEAVING and self._farewell is not None:
            last = Put(self.key, self._farewell, session.lease)
            whole = Txn(compares=_own(self.key, session.lease, self._newest), then=(last,))
            self._under_way = _Farewell(self, now, deadline, whole)
        elif self.stage is Stage.LEAVING:
            self._under_way = Commit(self, now, deadline, _deletion(self.key, session.lease, self._newest))
        else:
            put = Put(self.key, self._value, session.lease)
            self._under_way = _Putting(self, now, deadline, Txn(then=(put,)), self._version)
        duties.append(self._under_way)

    def done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        """Take the answer of a put or a deletion."""
        self._under_way = None
        self._trouble = error
        if isinstance(duty, _Putting):
            if isinstance(error, (OutcomeUnknown, CallTimeout)):
                # It may arrive later than what follows it, which must then be made good once more.
                self._late_until = max(self._late_until, duty.deadline + SERVER_REQUEST_TIMEOUT)
            if isinstance(result, TxnResult):
                self._newest = max(self._newest, result.header.revision)
        if self._successor is not None:
            self._hand_over()
        elif isinstance(duty, _Farewell):
            # Said or not, it is said once. One that comes late finds the key deleted or newer than it knows.
            self._farewell = None
            if isinstance(result, TxnResult) and result.succeeded:
                self._newest = max(self._newest, result.header.revision)
        elif isinstance(duty, _Putting):
            self._put_done(duty, error, now)
        elif self.stage is Stage.LEAVING:
            self._delete_done(duty, result, error, now)

    def _put_done(self, duty: _Putting, error: CoordError | None, now: float) -> None:
        if self.stage is not Stage.KEPT or self.session is None or not self._same_lease(duty):
            return
        if error is None:
            self._backoff.reset()
            self._stored = max(self._stored, duty.version)
            self._due = -_FOREVER
            if duty.sent >= self._late_until:
                self._late_until = -_FOREVER
        elif isinstance(error, LeaseNotFound):
            self.session.vanished(now)
        elif _for_good(error):
            self._error = error
        else:
            self._due = now + self._backoff.next()
        self._tell()

    def _same_lease(self, duty: _Putting) -> bool:
        op = duty.request.then[0]
        return isinstance(op, Put) and self.session is not None and op.lease == self.session.lease

    def _delete_done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        if error is not None and not _for_good(error):
            self._due = now + self._backoff.next()
            return
        found = result.range(0).first if isinstance(result, TxnResult) and not result.succeeded else None
        if found is not None and self.session is not None and found.lease == self.session.lease:
            # A put of ours whose answer was lost.
            self._newest = max(self._newest, found.mod_revision)
            self._due = -_FOREVER
        elif error is None and duty.sent < self._late_until:
            self._due = self._late_until
        else:
            self.end(ClosedError("the declaration was withdrawn"))

    def _tell(self) -> None:
        self._shared.calls.extend(self._listeners.values())


class _Farewell(Commit):
    __slots__ = ()


class _Putting(Commit):
    __slots__ = ("version",)

    def __init__(self, machine: Declaration, sent: float, deadline: float, request: Txn, version: int) -> None:
        super().__init__(machine, sent, deadline, request)
        self.version = version


def _deletion(key: bytes, lease: int, newest: int) -> Txn:
    """Delete what is our own, or tell what is there.

    Another process may have put the same key since, under its own lease; and this client may have declared it anew,
    under the same lease, before a deletion arrives that was given up: what is newer than `newest` is not meant.
    """
    return Txn(compares=_own(key, lease, newest), then=(Delete(key),), otherwise=(Get(key, keys_only=True),))


def _own(key: bytes, lease: int, newest: int) -> tuple[Compare, Compare]:
    ours = Compare(key, Attribute.LEASE, Relation.EQUAL, lease)
    return ours, Compare(key, Attribute.MOD, Relation.LESS, newest + 1)


def _for_good(error: CoordError) -> bool:
    if isinstance(error, (PermissionDenied, RequestTooLarge)):
        return True
    return isinstance(error, RequestRefused) and error.facts.get("code") == INVALID_ARGUMENT
