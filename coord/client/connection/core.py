"""What blocking and asyncio connections share: every decision, and no input or output.

A connection asks this for the endpoint, the deadlines of an attempt and what to do after a failure, and tells it what
came of it. All methods are quick and may be called from any thread.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import tenacity

from coord import statuses
from coord.client.connection import channel, fork, retry
from coord.client.connection.credentials import Login
from coord.client.connection.endpoints import Endpoints
from coord.client.connection.history import History, Mark
from coord.client.connection.retry import Attempts, Failure, Verdict
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.clock import now
from coord.errors import ClosedError, CoordError, HistoryLost, UsageError
from coord.wire import status as wire_status
from coord.wire.methods import Method


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to connect and who to be; several connections of a client share one.

    Attributes:
        endpoints: at least one.
        tls: for secure endpoints; None trusts the built-in roots.
        user: name, None for anonymous use.
        password: of the user.
    """

    endpoints: tuple[Endpoint, ...]
    tls: Tls | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise UsageError("at least one endpoint is needed")
        if self.user is None and self.password is not None:
            raise UsageError("a password needs a user")
        if not isinstance(self.user, str | None) or not isinstance(self.password, str | None):
            raise UsageError("user and password are text")
        if not isinstance(self.tls, Tls | None):
            raise UsageError(f"tls is a coord.Tls(ca=…, cert=…, key=…), not {self.tls!r}")


class Again(Exception):
    """An attempt failed and another one is due after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self.delay = delay


class Failed(Exception):
    """One attempt got no response."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.status.text)
        self.failure = failure


class Pending:
    """One call on its way through its attempts.

    Attributes:
        method: row of the method table.
        request: the message.
        deadline: instant at which the call ends, None for never.
        pinned: the only endpoint that may be asked, None for any.
        attempts: what was tried.
        mark: history as known before the first attempt.
        login_generation: of the token that the present attempt used.
    """

    __slots__ = ("attempts", "deadline", "linearizable", "login_generation", "mark", "method", "pinned", "request")

    def __init__(
        self,
        method: Method,
        request: Any,
        deadline: float | None,
        attempts: Attempts,
        mark: Mark,
        pinned: Endpoint | None,
        linearizable: bool,
    ) -> None:
        self.method = method
        self.request = request
        self.deadline = deadline
        self.attempts = attempts
        self.mark = mark
        self.pinned = pinned
        self.linearizable = linearizable
        self.login_generation = 0


class Stream(NamedTuple):
    """An open stream.

    Attributes:
        call: iterate over it for responses; `cancel` ends it.
        endpoint: where it goes.
        login_generation: of the token it was opened with.
    """

    call: Any
    endpoint: Endpoint
    login_generation: int


class Core:
    """Endpoints, history and login of one connection.

    Attributes:
        settings: as given.
        history: shared with the other connections of the client.
        login: user and token.
        closed: set once by `close`.
    """

    def __init__(self, settings: Settings, history: History | None, rng: random.Random | None = None) -> None:
        self.settings = settings
        self.history = history or History()
        self.login = Login(settings.user, settings.password)
        self.closed = False
        self.generation = fork.generation
        self.rng = rng or random.Random()
        self._endpoints = Endpoints(settings.endpoints, self.rng)
        self._lock = threading.Lock()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every known endpoint."""
        return self._endpoints.all

    @property
    def current(self) -> Endpoint | None:
        """The endpoint that calls go to at present, None before the first and after a failure."""
        return self._endpoints.current

    @property
    def forgotten(self) -> bool:
        """True if nobody closed it who should have: it is open, and was made in this process."""
        return not self.closed and self.generation == fork.generation

    def describe(self) -> str:
        """State in a few words, for repr."""
        if self.closed:
            return "closed"
        current = self.current
        listed = ",".join(endpoint.address for endpoint in self.endpoints)
        return f"{listed} {'idle' if current is None else f'using {current}'}"

    def replace_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Use these endpoints from now on."""
        with self._lock:
            self._endpoints.replace(endpoints)

    def reborn(self) -> None:
        """This is a forked child: forget what belongs to the parent. A lock may have been held by a lost thread."""
        self._lock = threading.Lock()
        self.history.reborn()
        self.login = Login(self.settings.user, self.settings.password)
        self.rng = random.Random()
        self._endpoints = Endpoints(self._endpoints.all, self.rng)
        self.generation = fork.generation

    def check_open(self) -> None:
        """Do nothing while the connection is open.

        Raises:
            ClosedError: it was closed.
        """
        if self.closed:
            raise ClosedError("the client is closed")

    def begin(
        self,
        method: Method,
        request: Any,
        *,
        deadline: float | None,
        write: bool,
        linearizable: bool,
        once: bool,
        pinned: Endpoint | None,
    ) -> Pending:
        """A call is about to be made.

        Raises:
            ClosedError: the connection was closed.
            CallTimeout: the deadline has passed.
        """
        self.check_open()
        started = now()
        if deadline is not None and deadline <= started:
            raise retry.too_late()
        attempts = Attempts(deadline=deadline, write=write, once=once, started=started)
        return Pending(method, request, deadline, attempts, self.history.mark, pinned, linearizable)

    def choose(self, pending: Pending | None = None) -> Endpoint:
        """Where the next attempt goes."""
        avoid: Collection[Endpoint] = ()
        if pending is not None:
            if pending.pinned is not None:
                return pending.pinned
            avoid = pending.attempts.avoid
        current = self._endpoints.current
        if current is not None and not avoid:
            return current  # as in most calls; one attribute is read without the lock
        with self._lock:
            return self._endpoints.choose(now(), avoid)

    def connect_until(self, pending: Pending, endpoint: Endpoint) -> float | None:
        """Deadline for making the connection."""
        instant = now()
        return pending.attempts.connect_until(instant, others=self._others(pending, endpoint, instant))

    def answer_until(self, pending: Pending, endpoint: Endpoint) -> float | None:
        """Deadline for the answer of one attempt."""
        if pending.attempts.write:
            return pending.deadline  # see `Attempts.until`
        instant = now()
        return pending.attempts.until(instant, others=self._others(pending, endpoint, instant))

    def _others(self, pending: Pending, endpoint: Endpoint, instant: float) -> bool:
        if pending.pinned is not None or len(self._endpoints.all) == 1:
            return False
        return self._endpoints.others(endpoint, instant, pending.attempts.avoid)

    def worked(self, endpoint: Endpoint) -> None:
        """A connection was made there, or an answer came after a failure."""
        with self._lock:
            self._endpoints.worked(endpoint)

    def answered(self, pending: Pending, response: Any) -> None:
        """Take note of a response's header.

        Raises:
            HistoryLost: another cluster, or an older state than one seen before.
        """
        header = response.header
        try:
            self.history.seen(
                pending.mark,
                cluster_id=header.cluster_id,
                revision=header.revision,
                term=header.raft_term,
                linearizable=pending.linearizable,
            )
        except HistoryLost as lost:
            if pending.attempts.write:
                lost.add_note("the write that noticed it was carried out, in the new history")
            raise

    def failed(self, pending: Pending, failure: Failure) -> Verdict:
        """What to do after a failure.

        Raises:
            ClosedError: the connection was closed meanwhile.
            OutcomeUnknown: it was, and the request had been sent.
            CoordError: the call ends.
        """
        instant = now()
        row = wire_status.row(failure.status)
        if self.closed:
            if pending.attempts.write and failure.sent and row.open:
                raise pending.attempts.error(failure, instant)
            raise ClosedError("the client was closed during the call") from failure.cause
        if row.leave:
            self.endpoint_failed(failure.endpoint)
        verdict = pending.attempts.failed(
            failure,
            instant,
            self.rng,
            fresh=self._others(pending, failure.endpoint, instant),
            can_login=self.login.known,
        )
        if verdict.login:
            self.login.refused(pending.login_generation)
        return verdict

    def ended(self, pending: Pending, failure: Failure) -> CoordError:
        """The error for something that is not tried again here."""
        if self.closed:
            return ClosedError("the client was closed during the call")
        if wire_status.row(failure.status).leave:
            self.endpoint_failed(failure.endpoint)
        return pending.attempts.error(failure, now())

    def stream_broke(self, stream: Stream, error: BaseException) -> CoordError:
        """The error for a stream that ended with `error`; one that is no failure of a stream is raised as it is."""
        if isinstance(error, CoordError):
            return error
        if not self.closed and not channel.is_failure(error):
            raise error
        made = self.stream_failed(channel.failure(error, stream.endpoint), stream.login_generation)
        made.__cause__ = error
        return made

    def stream_failed(self, failure: Failure, login_generation: int) -> CoordError:
        """The error for a stream that ended; its endpoint rests if it was at fault, its token goes if refused."""
        if self.closed:
            return ClosedError("the client was closed")
        row = wire_status.row(failure.status)
        if row.leave:
            self.endpoint_failed(failure.endpoint)
        if row.login:
            self.login.refused(login_generation)
        return wire_status.error(failure.status, write=False, endpoint=failure.endpoint.address)

    def endpoint_failed(self, endpoint: Endpoint) -> None:
        """A call or stream found the endpoint out of order."""
        with self._lock:
            self._endpoints.failed(endpoint, now())

    def login_failed(self, failure: Failure) -> None:
        """Authenticate was refused or not answered; returns if the server has authentication off.

        Raises:
            Failed: the attempt is over, and the call itself was not sent.
            CoordError: user or password are wrong.
        """
        if failure.status.text == statuses.AUTH_NOT_ENABLED.text:
            self.login.not_enabled()
            return
        row = wire_status.row(failure.status)
        if row.again:
            raise Failed(replace(failure, sent=False))
        raise wire_status.error(
            failure.status, write=False, endpoint=failure.endpoint.address, user=self.login.user
        ) from failure.cause

    def logged_in(self, token: str) -> None:
        """The server gave a token."""
        self.login.accepted(token, now(), time.time())


def asked_for(state: tenacity.RetryCallState) -> float:
    """The delay that the failed attempt asked for, for tenacity's loop."""
    error = None if state.outcome is None else state.outcome.exception()
    return error.delay if isinstance(error, Again) else 0.0
