"""Forgets old revisions by itself: ``--auto-compaction-mode`` and ``--auto-compaction-retention``.

State machines: told the time and the revision, they say what to compact to. `AutoCompaction` drives one on a server.

Source: etcd server/etcdserver/api/v3compactor/periodic.go, revision.go.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from coord.server.logs import logger
from coord.server.member.pending import Pending
from coord.statuses import COMPACTED, Refused
from coord.wire.rpc_pb2 import CompactionRequest

_log = logger(__name__)

_HOUR_S = 3600.0
_REVISION_CHECK_S = 300.0


class Plan(Protocol):
    """Decides what to compact to."""

    every_s: float

    def look(self, now: float, revision: int) -> int:
        """The revision to compact to now, 0 for none. To be called every `every_s` seconds."""
        ...

    def done(self, now: float) -> None:
        """The compaction that `look` asked for was made."""
        ...


class ByTime:
    """Keeps the history of a period: after the first whole one, then at least hourly."""

    def __init__(self, period_s: float, now: float, revision: int) -> None:
        """The first period begins at `now`, at `revision`."""
        self.every_s = min(period_s, _HOUR_S) / 10
        self._period_s = period_s
        self._wait_s = period_s
        self._seen: deque[int] = deque([revision], maxlen=int(period_s / self.every_s) + 1)
        self._last = now

    def look(self, now: float, revision: int) -> int:
        """What the revision was a period ago, when it is time."""
        target = self._seen[0] if now - self._last >= self._wait_s else 0
        self._seen.append(revision)
        return target

    def done(self, now: float) -> None:
        """The next time comes sooner than the first."""
        self._last = now
        self._wait_s = min(self._period_s, _HOUR_S)


class ByRevision:
    """Keeps a number of revisions."""

    every_s = _REVISION_CHECK_S

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._asked = self._done = 0

    def look(self, now: float, revision: int) -> int:
        """What lies `keep` revisions back, unless that was compacted already."""
        self._asked = revision - self._keep
        return self._asked if self._asked > max(self._done, 0) else 0

    def done(self, now: float) -> None:
        """Remember how far."""
        self._done = self._asked


class AutoCompaction:
    """Asks a plan and proposes what it says."""

    def __init__(
        self,
        plan: Plan,
        revision: Callable[[], int],
        propose: Callable[..., Pending[Any]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._revision = revision
        self._propose = propose
        self._now = now

    def look(self) -> None:
        """The regular call."""
        target = self._plan.look(self._now(), self._revision())
        if not target:
            return
        try:
            pending = self._propose(compaction=CompactionRequest(revision=target))
        except Refused as refused:
            _log.warning("failed auto compaction", revision=target, error=refused.status.text)
            return
        pending.on_done(lambda done: self._answered(target, done.error))

    def _answered(self, target: int, error: BaseException | None) -> None:
        if error is None or (isinstance(error, Refused) and error.status == COMPACTED):
            self._plan.done(self._now())
            _log.info("completed auto compaction", revision=target)
        else:
            _log.warning("failed auto compaction", revision=target, error=str(error))


def make_plan(mode: str, retention: float, now: float, revision: int) -> Plan | None:
    """The plan for a mode and a retention in seconds or revisions; None if everything is kept."""
    if retention <= 0:
        return None
    return ByTime(retention, now, revision) if mode == "periodic" else ByRevision(int(retention))
