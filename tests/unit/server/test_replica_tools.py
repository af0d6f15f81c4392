"""The small tools under the replica: pendings, worker threads, timers, histograms."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from coord.server.consensus import Ready
from coord.server.member.figures import Figures, Histogram
from coord.server.member.journal import MemoryJournal
from coord.server.member.pending import Pending
from coord.server.member.periodic import Periodic
from coord.server.member.worker import Worker


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_pending_calls_each_listener_once() -> None:
    pending: Pending[int] = Pending()
    heard: list[int] = []
    pending.on_done(lambda done: heard.append(done.result()))
    pending.resolve(1)
    pending.resolve(2)
    pending.fail(ValueError())
    pending.on_done(lambda done: heard.append(done.result() + 10))
    assert heard == [1, 11]


def test_a_mapped_pending_passes_failures_on() -> None:
    good: Pending[int] = Pending()
    doubled = good.map(lambda value: value * 2)
    broken = good.map(lambda value: value // 0)
    good.resolve(4)
    assert doubled.result() == 8
    assert isinstance(broken.error, ZeroDivisionError)
    bad: Pending[int] = Pending()
    mapped = bad.map(lambda value: value * 2)
    bad.fail(KeyError("k"))
    assert isinstance(mapped.error, KeyError)


def test_a_pending_can_be_awaited_and_given_up() -> None:
    async def check() -> None:
        pending: Pending[str] = Pending()
        waiting = asyncio.ensure_future(_result(pending))
        given_up = asyncio.ensure_future(_result(pending))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        pending.resolve("x")
        assert await waiting == "x"
        assert given_up.cancelled()

    run(check)


async def _result(pending: Pending[str]) -> str:
    return await pending


def test_a_worker_reports_in_order_on_the_loop() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        worker = Worker(loop, "test")
        reports: list[tuple[Any, str, bool]] = []
        mine = threading.get_ident()

        def done(result: Any, error: BaseException | None) -> None:
            reports.append((result, str(error), threading.get_ident() == mine))

        worker.submit(lambda: 1, done)
        worker.submit(lambda: 1 // 0, done)
        assert await worker.call(threading.get_ident) != mine
        with pytest.raises(KeyError):
            await worker.call(lambda: dict[str, int]()["missing"])
        assert reports == [(1, "None", True), (None, "integer division or modulo by zero", True)]
        worker.stop()

    run(check)


def test_a_periodic_whose_work_breaks_says_so_and_ends() -> None:
    async def check() -> None:
        failures: list[BaseException] = []
        failed = asyncio.Event()
        calls = 0

        def work() -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise ValueError("broken")

        def fail(error: BaseException) -> None:
            failures.append(error)
            failed.set()

        periodic = Periodic(asyncio.get_running_loop(), 0.001, work, fail)
        periodic.start()
        await failed.wait()
        assert calls == 3
        assert len(failures) == 1
        periodic.stop()

    run(check)


def test_a_periodic_can_be_stopped_by_its_own_work() -> None:
    async def check() -> None:
        stopped = asyncio.Event()
        calls: list[int] = []

        def work() -> None:
            calls.append(1)
            periodic.stop()
            stopped.set()

        periodic = Periodic(asyncio.get_running_loop(), 0.001, work, lambda error: None)
        periodic.start()
        await stopped.wait()
        await asyncio.sleep(0.01)
        assert calls == [1]

    run(check)


def test_a_histogram_counts_into_buckets() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 3.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 0, 1, 1]
    assert (histogram.count, histogram.total) == (4, 13.5)
    assert histogram.quantile(0.5) == 1.0
    assert histogram.quantile(1.0) == float("inf")


def test_the_log_of_a_throw_away_server_is_durable_at_once() -> None:
    assert MemoryJournal(Figures()).persist(Ready(), lambda: None)


def test_a_worker_that_is_stopped_still_reports_what_it_did() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        worker = Worker(loop, "test")
        reports: list[Any] = []
        for number in range(3):
            worker.submit(partial(int, number), lambda result, _: reports.append(result))
        worker.stop()
        await asyncio.sleep(0)
        assert reports == [0, 1, 2]

    run(check)


def test_a_report_that_fails_does_not_hold_up_the_others() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        complaints: list[Any] = []
        loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))
        worker = Worker(loop, "test")
        answered = loop.create_future()
        gate = threading.Event()

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        worker.submit(gate.wait, lambda *_: None)
        worker.submit(lambda: 1, fail)
        worker.submit(lambda: 2, lambda result, _: answered.set_result(result))
        gate.set()
        assert await answered == 2
        assert [type(each) for each in complaints] == [ZeroDivisionError]
        worker.stop()

    run(check)
