"""Service discovery and coordination on etcd, with a bundled etcd-compatible server.

::

    import coord

    with coord.lock("/my-lock"):          # one process at a time, on all machines
        ...

    with coord.connect("http://127.0.0.1:2379") as client:
        client.put("greeting", "hello")

Everything exists twice with the same names: ``coord.X`` blocks, ``coord.aio.X`` is awaited. Without a configured
endpoint the per-user local server is used (see `coord.place`).
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from coord import ops
from coord.client.connection.tls import Tls
from coord.errors import (
    AuthenticationFailed,
    CallTimeout,
    ClosedError,
    Compacted,
    ConfigConflict,
    ConfigInvalid,
    CoordError,
    ForkedError,
    HistoryLost,
    JobLost,
    LeadershipLost,
    LeaseLost,
    LocalServerNotice,
    LockLost,
    LockTimeout,
    NoCandidate,
    NoInstances,
    NotConfigured,
    NotOwner,
    OutcomeUnknown,
    PermissionDenied,
    QueueEmpty,
    QueueFull,
    RequestRefused,
    Unavailable,
    UsageError,
)
from coord.model import DEFAULT, Event, EventKind, KeyValue, LeaseState, WatchBatch
from coord.sync import (
    Client,
    barrier,
    config,
    connect,
    default_client,
    delay_queue,
    discover,
    double_barrier,
    election,
    gated_queue,
    latch,
    lock,
    locks,
    priority_queue,
    queue,
    register,
    rlock,
    rwlock,
    semaphore,
    synchronized,
    use_as_default,
)

if TYPE_CHECKING:
    from coord import aio

__all__ = [
    "DEFAULT",
    "AuthenticationFailed",
    "CallTimeout",
    "Client",
    "ClosedError",
    "Compacted",
    "ConfigConflict",
    "ConfigInvalid",
    "CoordError",
    "Event",
    "EventKind",
    "ForkedError",
    "HistoryLost",
    "JobLost",
    "KeyValue",
    "LeadershipLost",
    "LeaseLost",
    "LeaseState",
    "LocalServerNotice",
    "LockLost",
    "LockTimeout",
    "NoCandidate",
    "NoInstances",
    "NotConfigured",
    "NotOwner",
    "OutcomeUnknown",
    "PermissionDenied",
    "QueueEmpty",
    "QueueFull",
    "RequestRefused",
    "Tls",
    "Unavailable",
    "UsageError",
    "WatchBatch",
    "aio",
    "barrier",
    "config",
    "connect",
    "default_client",
    "delay_queue",
    "discover",
    "double_barrier",
    "election",
    "gated_queue",
    "latch",
    "lock",
    "locks",
    "ops",
    "priority_queue",
    "queue",
    "register",
    "rlock",
    "rwlock",
    "semaphore",
    "synchronized",
    "use_as_default",
]

# The library tells what it does through `logging` and leaves the rest to the program.
logging.getLogger("coord").addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for one that may exist

    def __getattr__(name: str) -> Any:
        if name == "aio":
            return importlib.import_module("coord.aio")
        raise AttributeError(f"module 'coord' has no attribute {name!r}")
