"""Everything coord raises, in one small tree.

::

    CoordError
    ├── UsageError (ValueError)          the call itself is wrong; nothing was sent
    ├── ClosedError                      the client was closed
    ├── ForkedError                      the object belongs to the parent process
    ├── NotConfigured                    no endpoint given and a local server is not allowed here
    ├── LocalServerError                 the per-user local server could not be started or reached
    ├── Unavailable                      no endpoint could serve the request; it did not happen
    │   └── NoLeader                     the cluster has no leader at the moment
    ├── CallTimeout (TimeoutError)       the deadline passed; the request did not happen
    ├── OutcomeUnknown                   a write was sent and its answer never came
    ├── HistoryLost                      the cluster is another one, or went back in time
    ├── RequestRefused                   the server answered: no (code and text as attributes)
    │   ├── Compacted / FutureRevision
    │   ├── LeaseNotFound / LeaseExists
    │   ├── SpaceExceeded / RequestTooLarge
    │   ├── PermissionDenied / AuthenticationFailed
    │   └── Unsupported                  the server does not have this method
    ├── LeaseLost                        a lease that something was built on is gone
    │   └── LockLost / LeadershipLost / JobLost  … and with it the ownership it carried
    ├── LockTimeout (TimeoutError)       the lock was not won in time
    ├── QueueEmpty / QueueFull (queue.Empty, queue.Full)  no job, or no room, came in time
    ├── NotOwner                         released or used by somebody who does not hold it
    ├── NoCandidate                      nobody of that name stands for election
    ├── ConfigInvalid (ValueError)       a configuration does not fit its model
    ├── ConfigConflict                   a configuration was changed by somebody else meanwhile
    ├── RevisionNotFound (LookupError)   a configuration's history does not have this revision
    ├── NoInstances                      nobody of a service takes calls at present
    ├── WatchLost                        a watch cannot go on (its error is the cause)
    └── ServerBug                        the server broke the protocol

Two facts stand on every error: ``retryable`` (the same call may succeed if made again now) and ``outcome_known`` (False
only where a write may or may not have happened). gRPC errors are translated in `coord.wire.status` and nowhere else.
"""

from __future__ import annotations

import queue
from typing import Any, ClassVar


class CoordError(Exception):
    """Base of everything coord raises.

    Keyword facts given to the constructor become attributes, so that callers never parse a message.

    Attributes:
        retryable: the same call may succeed if it is made again.
        outcome_known: False if a write may or may not have taken effect.
        facts: the keyword facts of this error, also readable as attributes.
    """

    retryable: ClassVar[bool] = False
    outcome_known: ClassVar[bool] = True

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[CoordError], message: str, facts: dict[str, Any]) -> CoordError:
    return kind(message, **facts)


class UsageError(CoordError, ValueError):
    """The arguments of a call are wrong; nothing was sent."""


class ClosedError(CoordError):
    """The client, or the thing made from it, was closed."""


class ForkedError(CoordError):
    """The object was made in the parent process and cannot be used after a fork."""


class NotConfigured(CoordError):
    """No endpoint is configured, and this place (a container, say) must not start a local server by itself."""


class LocalServerError(CoordError):
    """The per-user local server could not be started or reached."""


class Unavailable(CoordError):
    """No endpoint could serve the request, and it did not take effect."""

    retryable = True


class NoLeader(Unavailable):
    """The cluster has no leader at the moment; the request did not take effect."""


class CallTimeout(CoordError, TimeoutError):
    """The deadline passed before the call was done, and it did not take effect (or changes nothing)."""

    retryable = True


class OutcomeUnknown(CoordError):
    """A write was sent and no answer came: it may or may not have taken effect."""

    outcome_known = False


class HistoryLost(CoordError):
    """The endpoint belongs to another cluster, or the cluster answered with a state older than one already seen."""


class RequestRefused(CoordError):
    """The server answered with an error.

    Attributes:
        code: gRPC status code number.
        text: the server's text.
    """


class Compacted(RequestRefused):
    """The revision asked for was compacted away.

    Attributes:
        compact_revision: oldest revision that can still be read, 0 if the server did not say.
    """


class FutureRevision(RequestRefused):
    """The revision asked for does not exist yet."""


class LeaseNotFound(RequestRefused):
    """The lease does not exist (any more)."""


class LeaseExists(RequestRefused):
    """A lease with the wished id exists already."""


class SpaceExceeded(RequestRefused):
    """The server's storage quota or disk is used up (alarm NOSPACE)."""


class RequestTooLarge(RequestRefused):
    """The request is larger than the server accepts."""


class PermissionDenied(RequestRefused):
    """The authenticated user may not do this."""


class AuthenticationFailed(RequestRefused):
    """User, password, token or certificate were not accepted."""


class Unsupported(RequestRefused):
    """The server does not implement this method."""


class LeaseLost(CoordError):
    """A lease is gone, or can no longer be proven alive.

    Attributes:
        cause: one word: "expired", "revoked", "unreachable", "history", "closed", "forked", "withdrawn".
        lease: the lease id.
    """


class LockLost(LeaseLost):
    """The lock was lost while it was held; what ran since may have overlapped with another holder."""


class LeadershipLost(LeaseLost):
    """Leadership was lost while it was held."""


class JobLost(LeaseLost):
    """A job went back to its queue while it was worked on; another consumer may have it.

    Attributes:
        cause: as in `LeaseLost`; "overdue" if it was held for longer than allowed.
        queue: name of the queue.
        job: id of the job.
        tries: how often it had been taken.
    """


class QueueEmpty(CoordError, queue.Empty):
    """No job came before the timeout."""

    retryable = True


class QueueFull(CoordError, queue.Full):
    """There was no room for the job before the timeout; it was not put."""

    retryable = True


class LockTimeout(CoordError, TimeoutError):
    """The lock was not won before the timeout; the place in the queue was given up."""

    retryable = True


class NotOwner(CoordError):
    """Somebody who does not hold it tried to release or use it."""


class NoCandidate(CoordError):
    """Nobody of that name stands for election, so leadership cannot be handed over; the leader stays."""


class ConfigInvalid(CoordError, ValueError):
    """A configuration does not fit its model; nothing was shown or written.

    Attributes:
        revision: revision of the store at which it was seen, 0 if it is not stored.
    """


class ConfigConflict(CoordError):
    """A configuration was changed by somebody else since what this change was based on; nothing was written.

    Attributes:
        fields: what was changed.
        revision: revision of the store at which that was seen.
    """

    retryable = True


class RevisionNotFound(CoordError, LookupError):
    """The history of a configuration does not have this revision.

    Attributes:
        revision: what was asked for.
        known: the revisions it has, oldest first.
    """


class NoInstances(CoordError):
    """No instance of the service takes calls at present; `service` is its name."""

    retryable = True


class WatchLost(CoordError):
    """A watch cannot go on; ``__cause__`` says why."""


class ServerBug(CoordError):
    """The server's answer breaks the protocol."""


class LocalServerNotice(UserWarning):
    """Told once per process when coord uses the per-user local server because no endpoint was configured."""
