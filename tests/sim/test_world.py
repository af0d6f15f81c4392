"""The simulator itself: repeatable, and honest about what it counts."""

from __future__ import annotations

import pytest

from coord.errors import CoordError, OutcomeUnknown
from coord.ops import Delete, Put, Txn, missing
from coord.testing.sim import runner as sim
from coord.testing.sim.choices import FirstChoices, RandomChoices
from coord.testing.sim.clock import ManualClock
from coord.testing.sim.net import Network, Stage
from coord.testing.sim.scenarios import lock
from coord.testing.sim.scenarios.lock import LockScenario, Shape
from coord.testing.sim.server import SimServer
from coord.testing.sim.world import SimWorld, Violation


def test_the_same_seed_gives_the_same_run() -> None:
    for seed in range(40):
        runs = [lock.build(seed) for _ in range(2)]
        for run in runs:
            run.run()
        assert runs[0].world.choices.trace == runs[1].world.choices.trace
        assert runs[0].entered == runs[1].entered
        assert runs[0].world.clock.now() == runs[1].world.clock.now()


def test_other_seeds_give_other_runs() -> None:
    traces = set()
    for seed in range(40):
        made = LockScenario(RandomChoices(seed), Shape())
        made.run()
        traces.add(made.world.choices.trace)
    assert len(traces) == 40


def test_a_clock_never_goes_back() -> None:
    clock = ManualClock(5.0)
    clock.advance(1.5)
    assert clock.now() == 6.5
    with pytest.raises(ValueError, match="never goes back"):
        clock.move_to(6.0)


def test_a_restarted_server_has_its_keys_and_leases() -> None:
    clock = ManualClock()
    server = SimServer(clock.now)
    server.grant(7, 10)
    server.txn(Txn(then=(Put(b"a/1", b"x", 7),)))
    before = server.create_revision(b"a/1")
    clock.advance(9.0)
    server.restart()
    assert server.create_revision(b"a/1") == before
    assert server.expire() == 0
    clock.advance(10.5)
    assert server.expire() == 0, "a restart gives the full time again"
    clock.advance(1.0)
    assert server.expire() == 1
    assert server.keys(b"a/") == []


def test_a_broken_connection_hides_whether_a_write_happened() -> None:
    clock = ManualClock()
    server = SimServer(clock.now)
    answers: list[CoordError | None] = []
    net = Network(clock.now, lambda below: 0)
    request = Txn(compares=(missing("k"),), then=(Put(b"k"),))
    message = net.send(
        0, lambda: server.txn(request), clock.now() + 5, True, lambda result, error: answers.append(error)
    )
    net.break_off(message)
    assert isinstance(answers[0], OutcomeUnknown)
    assert message.stage is Stage.REQUEST
    net.deliver(message)
    assert server.create_revision(b"k"), "it arrives all the same"
    assert len(answers) == 1, "but nobody is told"
    assert not net.messages


def test_an_answer_that_is_lost_was_a_request_that_happened() -> None:
    clock = ManualClock()
    server = SimServer(clock.now)
    answers: list[CoordError | None] = []
    net = Network(clock.now, lambda below: 0)
    server.txn(Txn(then=(Put(b"k"),)))
    message = net.send(
        0,
        lambda: server.txn(Txn(then=(Delete(b"k"),))),
        clock.now() + 5,
        True,
        lambda result, error: answers.append(error),
    )
    net.deliver(message)
    net.break_off(message)
    assert isinstance(answers[0], OutcomeUnknown)
    assert not server.create_revision(b"k")
    assert not net.messages


def test_a_world_without_work_says_that_somebody_waits_for_ever() -> None:
    world = SimWorld(FirstChoices())
    client = world.add_client()

    async def wait() -> None:
        await client.port._wait(lambda: None, lambda post: lambda: None, until=None)

    client.start(wait())
    world.step()
    with pytest.raises(Violation, match="nothing can happen"):
        world.step()
    world.close()


def test_the_command_prints_the_seed_of_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = lock.build

    def broken(seed: int) -> LockScenario:
        made = plain(seed)
        if seed == 3:
            made.world.idle_checks.append(_fail)
            made.world.interfere = lambda step: _fail()
        return made

    monkeypatch.setattr(lock, "build", broken)
    assert sim.main(["lock", "--schedules", "5"]) == 1
    told = capsys.readouterr().out
    assert "seed 3: python -m coord.testing.sim lock --schedules 1 --seed 3" in told
    assert "5 distinct schedules" in told
    assert "1 violations" in told
    assert sim.main(["lock", "--schedules", "2"]) == 0


def test_seeds_are_taken_until_there_are_enough_distinct_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lock.build
    monkeypatch.setattr(lock, "build", lambda seed: plain(seed // 3))
    totals = sim.run("lock", schedules=7)
    assert len(totals.traces) >= 7
    assert totals.runs == 19, "three seeds for each schedule, and one for the last"


def _fail() -> None:
    raise Violation("asked for")
