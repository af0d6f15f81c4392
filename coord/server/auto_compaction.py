"""Compacts by itself, by time or by number of revisions, as etcd's flags ask for.

Source: etcd server/etcdserver/api/v3compactor/{periodic,revision}.go.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from coord.errors import UsageError
from coord.server.logs import logger
from coord.server.pending import Pending
from coord.server.periodic import Periodic
from coord.statuses import COMPACTED, Refused
from coord.wire.rpc_pb2 import CompactionRequest

_log = logger(__name__)

_HOUR = 3600.0
_SAMPLES = 10  # in a compaction interval
_REVISION_SECONDS = 300.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": _HOUR}


def retention_seconds(text: str) -> float:
    """A retention of the periodic mode: whole hours, or a duration such as ``72h`` or ``1h30m``.

    Raises:
        UsageError: it is neither.
    """
    if text.isdigit():
        return int(text) * _HOUR
    total, number, rest = 0.0, "", text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((unit for unit in _UNITS if rest.startswith(unit)), "")
        if not number or not unit:
            raise UsageError(f"auto-compaction-retention {text!r} is neither a number of hours nor a duration")
        try:
            total += float(number) * _UNITS[unit]
        except ValueError as error:
            raise UsageError(f"auto-compaction-retention {text!r} has a number that is none: {number!r}") from error
        rest = rest[len(unit) :]
    return total


class AutoCompaction:
    """Proposes compactions; a part of a member that leads."""

    def __init__(self, revision: Callable[[], int], propose: Callable[..., Pending[Any]]) -> None:
        self._revision = revision
        self._propose = propose
        self._done = 0

    def periodic(self, seconds: float) -> tuple[float, Callable[[], None]]:
        """How often to call what, to keep the revisions of the last `seconds`."""
        every = min(seconds, _HOUR) / _SAMPLES
        # One sample more than intervals: the oldest is then a whole retention old.
        samples: deque[int] = deque(maxlen=math.ceil(seconds / every - 1e-9) + 1)
        turns = 0

        def sample() -> None:
            nonlocal turns
            samples.append(self._revision())
            if len(samples) < (samples.maxlen or 0):
                return
            if turns % _SAMPLES == 0:
                self._compact(samples[0])
            turns += 1

        return every, sample

    def by_revision(self, keep: int) -> tuple[float, Callable[[], None]]:
        """How often to call what, to keep the last `keep` revisions."""
        return _REVISION_SECONDS, lambda: self._compact(self._revision() - keep)

    def _compact(self, revision: int) -> None:
        if revision <= self._done:
            return
        try:
            pending = self._propose(compaction=CompactionRequest(revision=revision))
        except Refused as refused:
            _log.warning("failed auto compaction", revision=revision, error=str(refused))
            return
        _log.info("starting auto compaction", revision=revision)
        pending.on_done(lambda pending: self._compacted(revision, pending))

    def _compacted(self, revision: int, pending: Pending[Any]) -> None:
        error = pending.error
        if error is None or (isinstance(error, Refused) and error.status == COMPACTED):
            self._done = revision
            return
        _log.warning("failed auto compaction", revision=revision, error=str(error))


def auto_compaction_timer(
    loop: asyncio.AbstractEventLoop,
    mode: str,
    retention: str,
    compaction: AutoCompaction,
    fail: Callable[[BaseException], None],
) -> Periodic | None:
    """The timer for flags `mode` and `retention`; None if they turn it off.

    Raises:
        UsageError: `retention` has no meaning in this mode.
    """
    if mode == "revision":
        if not retention.isdigit():
            raise UsageError(f"auto-compaction-retention {retention!r} is no number of revisions")
        keep = int(retention)
        plan = compaction.by_revision(keep) if keep > 0 else None
    else:
        seconds = retention_seconds(retention)
        plan = compaction.periodic(seconds) if seconds > 0 else None
    return None if plan is None else Periodic(loop, plan[0], plan[1], fail)
