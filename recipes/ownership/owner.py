"""Who stands in a queue: the value that a lock stores, written for people and tools.

Nothing depends on it: the queue is ordered by create revision and owned by lease. So a value of another client (Go
stores none, an election stores the candidate) is shown as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Owner:
    """What a contender says of itself; empty where it says nothing.

    Attributes:
        host: name of its machine.
        pid: its process there, 0 if unknown.
        task: name of its thread, or of its asyncio task, or the owner that `rlock` was given.
        since: wall clock seconds when it asked, 0 if unknown; shown to people, never compared.
        client: which client of that process; made up, and the same for its lifetime.
        raw: the stored value.
    """

    host: str = ""
    pid: int = 0
    task: str = ""
    since: float = 0.0
    client: str = ""
    raw: bytes = b""

    def __str__(self) -> str:
        if not self.host:
            return self.raw.decode("utf-8", "backslashreplace")
        return f"{self.task or 'pid'} {self.pid} on {self.host}"


_clients: weakref.WeakKeyDictionary[object, tuple[int, str]] = weakref.WeakKeyDictionary()


def describe_caller(client: object, task: str | None = None) -> bytes:
    """The value for a lock taken by the calling thread or task with this client, or in the name of `task`."""
    known = _clients.get(client)
    if known is None or known[0] != os.getpid():
        known = _clients[client] = (os.getpid(), _describe_client())
    name = _caller_name() if task is None else task
    return f'{known[1]},"task":{json.dumps(name)},"since":{time.time():.3f}}}'.encode()


def _describe_client() -> str:
    """The part of the JSON object that stays the same, without its end: most of the work, in a short lock cycle."""
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "client": secrets.token_hex(4)}
    return json.dumps(facts, separators=(",", ":")).removesuffix("}")


def _caller_name() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        task = None
    return task.get_name() if task is not None else threading.current_thread().name


def parse_owner(value: bytes) -> Owner:
    """What a stored value says; never fails, because anybody may have written it."""
    try:
        facts: Any = json.loads(value)
    except ValueError:
        return Owner(raw=value)
    if not isinstance(facts, dict):
        return Owner(raw=value)
    pid, since = facts.get("pid"), facts.get("since")
    return Owner(
        host=str(facts.get("host", "")),
        pid=pid if isinstance(pid, int) else 0,
        task=str(facts.get("task", "")),
        since=float(since) if isinstance(since, (int, float)) else 0.0,
        client=str(facts.get("client", "")),
        raw=value,
    )
