"""Full garbage collections happen while nobody waits."""

from __future__ import annotations

from coord.server.member.collector import FORCE_SECONDS, Collector


class Bench:
    def __init__(self) -> None:
        self.calls = self.old = self.collected = 0
        self.now = 0.0
        self.collector = Collector(
            lambda: self.calls, collect=self.collect, counts=lambda: (0, 0, self.old), now=lambda: self.now
        )

    def collect(self) -> None:
        self.collected += 1
        self.old = 0


def test_an_idle_server_collects_once_and_then_has_nothing_to_look_at() -> None:
    bench = Bench()
    bench.old = 3
    for _ in range(5):
        bench.collector.look()
    assert bench.collected == 1


def test_a_busy_server_does_not() -> None:
    bench = Bench()
    bench.old = 3
    for _ in range(5):
        bench.calls += 1
        bench.collector.look()
    assert bench.collected == 0
    bench.collector.look()
    assert bench.collected == 1


def test_a_server_that_is_never_idle_collects_after_an_hour() -> None:
    bench = Bench()
    for _ in range(3):
        bench.calls += 1
        bench.now += FORCE_SECONDS / 2 + 1
        bench.collector.look()
    assert bench.collected == 1
