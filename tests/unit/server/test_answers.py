"""Work that takes several steps: in turn with others, after something else, and given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coord import statuses
from coord.server.member.pending import Pending
from coord.server.transport import answers
from coord.server.transport.answers import Followed, Sliced, Turns, after, cancel
from coord.statuses import Refused


def test_sliced_work_brings_its_result_or_its_error() -> None:
    async def main() -> None:
        turns = Turns()

        def steps(error: Exception | None) -> Any:
            for _ in range(10):
                yield
            if error is not None:
                raise error
            return "done"

        assert await Sliced(turns, steps(None)) == "done"
        with pytest.raises(Refused):
            await Sliced(turns, steps(Refused(statuses.COMPACTED)))

    asyncio.run(main())


def test_long_reads_together_take_no_more_of_a_turn_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        now = 0.0
        monkeypatch.setattr(answers, "perf_counter", lambda: now)

        def steps() -> Any:
            nonlocal now
            for _ in range(4):
                now += 0.002
                yield

        turns = Turns()
        work = [Sliced(turns, steps()) for _ in range(50)]
        longest = 0.0
        while not all(one.done for one in work):
            before = now
            await asyncio.sleep(0)
            longest = max(longest, now - before)
        assert now == pytest.approx(50 * 4 * 0.002)
        assert longest < 0.006

    asyncio.run(main())


def test_stopped_work_takes_no_further_step() -> None:
    async def main() -> None:
        taken: list[str] = []

        def steps(name: str) -> Any:
            for _ in range(10):
                taken.append(name)
                yield

        turns = Turns()
        before = Sliced(turns, steps("before"))
        turns.stop()
        after_it = Sliced(turns, steps("after"))
        for work in (before, after_it):
            with pytest.raises(Refused) as refused:
                await work
            assert refused.value.status == statuses.STOPPED
        await asyncio.sleep(0)
        assert taken == []

    asyncio.run(main())


def test_what_is_given_up_closes_its_generator() -> None:
    async def main() -> None:
        closed: list[bool] = []

        def steps() -> Any:
            try:
                while True:
                    yield
            finally:
                closed.append(True)

        work = Sliced(Turns(), steps())
        await asyncio.sleep(0)
        first: Pending[None] = Pending()
        both = after(first, lambda: work)
        first.resolve(None)
        cancel(both)
        assert closed == [True]
        with pytest.raises(asyncio.CancelledError):
            await both

    asyncio.run(main())


def test_a_second_step_starts_only_after_the_first_and_not_after_its_failure() -> None:
    started: list[int] = []
    first: Pending[None] = Pending()
    followed = Followed(first, lambda: started.append(1))
    assert started == []
    first.fail(Refused(statuses.TIMED_OUT))
    assert started == []
    assert isinstance(followed.error, Refused)


def test_nothing_to_wait_for_means_at_once() -> None:
    assert after(None, lambda: "now") == "now"
