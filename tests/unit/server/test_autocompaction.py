"""Automatic compaction: what is compacted to, and when."""

from __future__ import annotations

from typing import Any

import pytest

from coord.server.member.autocompaction import AutoCompaction, ByRevision, ByTime, make_plan
from coord.server.member.pending import Pending
from coord.server.settings.config import ConfigError, ServerConfig
from coord.statuses import COMPACTED, NO_LEADER, NO_SPACE, Refused


class Server:
    """A server with a clock; its revision is one for every ten seconds, and 1 at first."""

    def __init__(self, make: Any, period: float) -> None:
        self.now = 0.0
        self.plan = make(period, 0.0, self.revision()) if make is ByTime else make(int(period))
        self.asked: list[tuple[float, int]] = []
        self.answer: Any = None
        self.compaction = AutoCompaction(self.plan, self.revision, self.propose, lambda: self.now)

    def revision(self) -> int:
        return 1 + int(self.now / 10)

    def propose(self, *, compaction: Any) -> Pending[Any]:
        self.asked.append((self.now, compaction.revision))
        if isinstance(self.answer, Refused) and self.answer.status == NO_LEADER:
            raise self.answer
        pending: Pending[Any] = Pending()
        if self.answer is None:
            pending.resolve(None)
        else:
            pending.fail(self.answer)
        return pending

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += self.plan.every_s
            self.compaction.look()


def test_the_first_compaction_comes_after_a_whole_period_and_keeps_a_period() -> None:
    server = Server(ByTime, 600)
    server.run(540)
    assert server.asked == []
    server.run(120)
    when, revision = server.asked[0]
    assert when == pytest.approx(600)
    assert revision == 1, "that of the start, a whole period ago"


def test_a_period_of_an_hour_or_less_is_the_rhythm_as_well() -> None:
    server = Server(ByTime, 600)
    server.run(1800)
    assert [round(when) for when, _ in server.asked] == [600, 1200, 1800]
    assert all(600 <= when - (revision - 1) * 10 <= 670 for when, revision in server.asked), "a period and one look"


def test_a_longer_period_is_followed_by_hourly_compactions_that_keep_it() -> None:
    server = Server(ByTime, 3 * 3600)
    server.run(5 * 3600)
    assert [round(when / 3600) for when, _ in server.asked] == [3, 4, 5]
    for when, revision in server.asked:
        assert when - (revision - 1) * 10 == pytest.approx(3 * 3600, abs=400)


def test_a_failure_is_tried_again_at_the_next_look() -> None:
    server = Server(ByTime, 600)
    server.answer = Refused(NO_SPACE)
    server.run(720)
    assert len(server.asked) == 3
    server.answer = Refused(NO_LEADER)
    server.run(60)
    assert len(server.asked) == 4
    server.answer = Refused(COMPACTED)
    server.run(300)
    assert len(server.asked) == 5, "somebody else compacted: that is as good"


def test_revisions_are_kept_by_number() -> None:
    server = Server(ByRevision, 100)
    server.run(900)
    assert server.asked == [], "there are fewer"
    server.run(600)
    assert server.asked == [(1200, 21), (1500, 51)]


def test_nothing_is_asked_twice_while_nothing_changes() -> None:
    plan = ByRevision(10)
    assert plan.look(0, 15) == 5
    plan.done(0)
    assert plan.look(300, 15) == 0
    assert plan.look(600, 16) == 6


def test_no_retention_is_no_plan() -> None:
    assert make_plan("periodic", 0, 0, 1) is None
    assert make_plan("revision", 0, 0, 1) is None


@pytest.mark.parametrize(
    ("mode", "text", "retention"),
    [("periodic", "0", 0), ("periodic", "1", 3600), ("periodic", "30m", 1800), ("revision", "1000", 1000)],
)
def test_a_retention_is_hours_a_duration_or_a_number(mode: str, text: str, retention: float) -> None:
    config = ServerConfig(auto_compaction_mode=mode, auto_compaction_retention=text)
    config.validate()
    assert config.retention == retention


@pytest.mark.parametrize(("mode", "text"), [("periodic", "soon"), ("revision", "1h"), ("periodic", "-1h")])
def test_what_is_no_retention(mode: str, text: str) -> None:
    with pytest.raises(ConfigError, match="auto-compaction-retention"):
        ServerConfig(auto_compaction_mode=mode, auto_compaction_retention=text).validate()
