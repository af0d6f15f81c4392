"""The asyncio election on a port without network."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from coord.client.ports.background import TaskPrograms
from coord.errors import LeadershipLost
from coord.ops import Delete, Txn
from coord.recipes.elections.candidacy import Report
from coord.recipes.elections.election import AsyncElection
from coord.recipes.elections.leadership import AsyncLeadership
from tests.unit.recipes.direct import DirectPort, Place
from tests.unit.recipes.test_election import Standing, keys
from tests.unit.recipes.test_lock_aio import lose_from_a_thread, run, turns


class Client(DirectPort):
    """A client with programs in tasks."""

    timeout: float | None = 5.0
    programs: TaskPrograms | None = None

    def background(self, program: Any, *, name: str) -> Any:
        self.programs = self.programs or TaskPrograms(self)
        return self.programs.start(program, name=name)


def client_of(place: Place) -> Client:
    made = Client(place, len(place.clients) + 1)
    place.clients.append(made)
    return made


def test_a_block_leads_speaks_and_resigns() -> None:
    async def program() -> None:
        place = Place()
        election = AsyncElection(client_of(place), "cron")
        async with election.lead("a") as leader:
            assert election.leading is leader
            await election.proclaim("b")
            found = await election.leader()
            assert found is not None
            assert (found.text, found.term) == ("b", leader.term)
            assert [each.text for each in await election.candidates()] == ["b"]
        assert keys(place) == []
        assert leader.lost
        assert await election.leader() is None
        await election.campaign("c")
        assert await election.resign() is True
        assert await election.resign() is False

    run(program())


def test_a_loss_cancels_the_block() -> None:
    async def program() -> None:
        client = client_of(Place())
        with pytest.raises(LeadershipLost) as caught:
            await _lead(client)
        assert caught.value.cause == "unreachable"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(program())


async def _lead(client: Client) -> None:
    async with AsyncElection(client, "cron").lead("a"):
        lose_from_a_thread(client)
        await asyncio.sleep(3600)


def test_a_resignation_by_another_task_cancels_the_block() -> None:
    async def program() -> None:
        place = Place()
        election = AsyncElection(client_of(place), "cron")
        entered = asyncio.Event()

        async def body() -> None:
            async with election.lead("a"):
                entered.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(body())
        await entered.wait()
        assert await election.resign() is True
        with pytest.raises(LeadershipLost) as caught:
            await task
        assert caught.value.cause == "withdrawn"
        assert keys(place) == []

    run(program())


def test_a_block_that_resigns_or_transfers_goes_on() -> None:
    async def program() -> None:
        place = Place()
        election = AsyncElection(client_of(place), "cron")
        target = Standing(place, b"b")
        place.server.txn(Txn(then=(Delete(target.key),)))
        async with election.lead("a") as leader:
            target = Standing(place, b"b")
            await leader.transfer("b")
            await turns()
            assert leader.lost
        assert keys(place) == [target.key]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(program())


def test_observing_ends_with_its_iteration() -> None:
    async def program() -> None:
        place = Place()
        election, watcher = AsyncElection(client_of(place), "cron"), client_of(place)
        await election.campaign("a")
        async with aclosing(AsyncElection(watcher, "cron").observe()) as seen:  # type: ignore[type-var]  # a generator
            async for leader in seen:
                assert leader is not None
                assert leader.text == "a"
                break
        assert not watcher.hub.watchers

    run(program())


def test_reports() -> None:
    async def program() -> None:
        place = Place()
        told = AsyncElection(client_of(place), "cron").transitions("me", interval=1)
        reports = []
        async with aclosing(told) as each:  # type: ignore[type-var]  # a generator
            async for transition in each:
                reports.append(transition.report)
                if len(reports) == 2:
                    break
        assert reports == [Report.FIRST_LEADER, Report.STILL_LEADER]
        assert keys(place) == []

    run(program())


def test_leader_only_is_cancelled_by_a_loss_and_runs_again() -> None:
    async def program() -> None:
        place = Place()
        client = client_of(place)
        runs: list[str] = []

        @AsyncElection(client, "cron").leader_only
        async def job(leader: AsyncLeadership, word: str) -> str:
            runs.append("begun")
            if len(runs) == 1:
                lose_from_a_thread(client)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    runs.append("cancelled")
                    raise
            return word

        assert await job("done") == "done"
        assert runs == ["begun", "cancelled", "begun"]
        assert keys(place) == []

    run(program())


def test_run_while_leader_ends_with_its_handle() -> None:
    async def program() -> None:
        place = Place()
        election = AsyncElection(client_of(place), "cron")
        runs: list[AsyncLeadership] = []
        begun = asyncio.Event()

        async def work(leader: AsyncLeadership) -> None:
            runs.append(leader)
            begun.set()
            await asyncio.sleep(3600)

        handle = election.run_while_leader(work, value="a")
        await begun.wait()
        assert await election.resign() is True
        begun.clear()
        await begun.wait()
        assert runs[0].term < runs[1].term
        assert handle.running
        assert await handle.stop()
        assert handle.error is None
        assert keys(place) == []

    run(program())


def test_run_while_leader_ends_when_the_function_returns_or_fails() -> None:
    async def program() -> None:
        place = Place()
        election = AsyncElection(client_of(place), "cron")

        async def work(leader: AsyncLeadership) -> None:
            return None

        async def fail(leader: AsyncLeadership) -> None:
            raise ZeroDivisionError

        await election.run_while_leader(work).wait()
        handle = election.run_while_leader(fail)
        with pytest.raises(ZeroDivisionError):
            await handle.wait()
        assert keys(place) == []

    run(program())
