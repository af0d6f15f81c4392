"""Compactions that the server asks for by itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from coord.errors import UsageError
from coord.server.auto_compaction import AutoCompaction, auto_compaction_timer, retention_seconds
from coord.server.pending import Pending
from coord.statuses import COMPACTED, TOO_MANY_REQUESTS, Refused


class Log:
    """Takes proposals; the test answers them."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.pendings: list[Pending[Any]] = []

    def propose(self, **body: Any) -> Pending[Any]:
        self.bodies.append(body)
        self.pendings.append(Pending())
        return self.pendings[-1]


class TestAutoCompaction:
    def setup_method(self) -> None:
        self.revision = 100
        self.log = Log()
        self.compaction = AutoCompaction(lambda: self.revision, self.log.propose)

    def compacted(self) -> list[int]:
        return [body["compaction"].revision for body in self.log.bodies]

    def test_retentions(self) -> None:
        assert retention_seconds("0") == 0
        assert retention_seconds("2") == 7200
        assert retention_seconds("1h30m") == 5400
        assert retention_seconds("500ms") == 0.5
        for wrong in ("h", "12x", "1..5s", "-1"):
            with pytest.raises(UsageError):
                retention_seconds(wrong)

    def test_by_revision_keeps_the_last_ones(self) -> None:
        every, work = self.compaction.by_revision(30)
        assert every == 300
        work()
        assert self.compacted() == [70]

    def test_too_few_revisions_are_left_alone(self) -> None:
        _, work = self.compaction.by_revision(200)
        work()
        assert self.compacted() == []

    def test_nothing_new_is_not_compacted_again(self) -> None:
        _, work = self.compaction.by_revision(30)
        work()
        self.log.pendings[0].resolve(None)
        work()
        assert self.compacted() == [70]
        self.revision += 1
        work()
        assert self.compacted() == [70, 71]

    def test_a_failed_one_is_tried_again_and_a_done_one_is_not(self) -> None:
        _, work = self.compaction.by_revision(30)
        work()
        self.log.pendings[0].fail(Refused(TOO_MANY_REQUESTS))
        work()
        self.log.pendings[1].fail(Refused(COMPACTED))
        work()
        assert self.compacted() == [70, 70]

    def test_periodic_compacts_to_what_was_seen_a_period_ago(self) -> None:
        every, work = self.compaction.periodic(600.0)
        assert every == 60
        for turn in range(31):
            self.revision = 1000 + turn
            work()
            for pending in self.log.pendings:
                pending.resolve(None)
        assert self.compacted() == [1000, 1010, 1020]

    def test_a_long_period_is_compacted_every_hour(self) -> None:
        every, work = self.compaction.periodic(3 * 3600.0)
        assert every == 360
        for turn in range(41):
            self.revision = 1000 + turn
            work()
            for pending in self.log.pendings:
                pending.resolve(None)
        assert self.compacted() == [1000, 1010]

    def test_the_timer_is_off_by_default(self) -> None:
        loop = cast(asyncio.AbstractEventLoop, None)
        for mode in ("periodic", "revision"):
            assert auto_compaction_timer(loop, mode, "0", self.compaction, lambda _: None) is None
        with pytest.raises(UsageError):
            auto_compaction_timer(loop, "revision", "1h", self.compaction, lambda _: None)
