"""The wait between two writes: who is waited for, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from coord.server.member import gathering
from coord.server.member.gathering import COMPANY, GATHER_SECONDS, Gathering
from coord.statuses import NO_LEADER, Refused
from tests.unit.server.test_replica import Bench, put, run, status, turn


class Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class TimerLoop:
    """Remembers timers and runs none."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        assert delay == GATHER_SECONDS
        self.timers.append(Timer(callback))
        return self.timers[-1]


def wait() -> tuple[Gathering, TimerLoop, list[str]]:
    loop, over = TimerLoop(), list[str]()
    return Gathering(cast(asyncio.AbstractEventLoop, loop), lambda: over.append("over")), loop, over


def test_nobody_is_waited_for_at_first() -> None:
    one, loop, _ = wait()
    assert one.complete(0)
    assert not loop.timers


def test_few_are_not_waited_for() -> None:
    one, loop, _ = wait()
    one.start(COMPANY - 1)
    assert one.complete(1)
    assert not loop.timers


def test_as_many_are_waited_for_as_were_under_way() -> None:
    one, loop, over = wait()
    one.start(10)
    assert [one.complete(gathered) for gathered in (1, 9, 10, 11)] == [False, False, True, True]
    one.stop()
    assert loop.timers[0].cancelled
    assert one.complete(1)
    assert over == []


def test_the_wait_ends_without_them() -> None:
    one, loop, over = wait()
    one.start(10)
    loop.timers[0].callback()
    assert over == ["over"]
    assert one.complete(1)


def test_each_write_begins_a_new_wait() -> None:
    one, loop, _ = wait()
    one.start(10)
    one.start(20)
    assert [timer.cancelled for timer in loop.timers] == [True, False]
    assert not one.complete(10)
    one.start(1)
    assert one.complete(1)


def test_a_write_waits_for_as_many_as_were_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 3600.0)

    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        for n in range(9):
            replica.propose(put=put(b"%d" % n))
        await turn()
        early = replica.propose(put=put(b"came while the disk was busy"))
        bench.journal.sync()
        for n in range(8):
            replica.propose(put=put(b"%d" % n))
        await turn(10)
        assert [len(batch) for batch in bench.journal.batches] == [1, 9]
        assert not early.done
        replica.propose(put=put(b"the tenth"))
        await turn()
        assert [len(batch) for batch in bench.journal.batches] == [1, 9, 10]
        bench.journal.sync()
        assert early.done

    run(check)


def test_a_write_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 0.0)

    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        for n in range(9):
            replica.propose(put=put(b"%d" % n))
        await turn()
        bench.journal.sync()
        alone = replica.propose(put=put(b"alone"))
        await turn(10)
        assert [len(batch) for batch in bench.journal.batches] == [1, 9, 1]
        bench.journal.sync()
        assert alone.result() == b"did alone"

    run(check)


def test_what_is_gathered_is_refused_when_no_leader_takes_it() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        bench.consensus.propose = lambda data: False  # type: ignore[method-assign]  # it lost its office meanwhile
        answer = replica.propose(put=put(b"a"))
        await turn()
        assert status(answer) == NO_LEADER
        bench.consensus.leader = 0
        with pytest.raises(Refused) as caught:
            replica.propose(put=put(b"b"))
        assert caught.value.status == NO_LEADER
        assert replica.waiting == 0

    run(check)
