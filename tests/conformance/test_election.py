"""The election over real connections: one leads, whoever looks sees who, and etcdctl takes part, on every server."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing

import pytest

import coord
from coord.errors import CallTimeout, LeadershipLost, NoCandidate
from coord.model import LeaseState
from coord.recipes.elections.candidacy import Report
from coord.recipes.elections.election import AsyncElection, Election
from coord.recipes.elections.leadership import AsyncLeadership, Leadership
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


class Watcher:
    """What an observer is told, by a thread of its own."""

    def __init__(self, client: coord.Client) -> None:
        self.told: list[str | None] = []
        self._thread = threading.Thread(target=self._look, args=(client.election("cron"),))
        self._thread.start()

    def _look(self, election: Election) -> None:
        try:
            for leader in election.observe():
                self.told.append(None if leader is None else leader.text)
        except coord.ClosedError:
            return

    def end(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def watcher(server: ServerProcess, prefix: bytes) -> Iterator[Watcher]:
    with coord.connect(server.endpoint, namespace=prefix) as third:
        made = Watcher(third)
        until(lambda: made.told == [None], "the observer looks")
        yield made
    made.end()


def stands(election: Election, count: int) -> None:
    until(lambda: len(election.candidates()) == count, f"{count} stand")


def test_leaders_follow_each_other_and_are_observed(
    client: coord.Client, other: coord.Client, watcher: Watcher
) -> None:
    election, rival = client.election("cron"), other.election("cron")
    with election.lead("a") as leader:
        assert leader.state is LeaseState.HELD
        leader.proclaim("a2")
        waiting = in_thread(lambda: rival.campaign("b", timeout=PATIENCE))
        stands(election, 2)
        found = rival.leader()
        assert found is not None
        assert (found.text, found.term) == ("a2", leader.term)
    after = waiting()
    assert after.term > leader.term
    assert rival.resign() is True
    until(lambda: watcher.told == [None, "a", "a2", "b", None], f"everybody is told of: {watcher.told}")
    assert client.election("cron").leader() is None


def test_leadership_is_passed_over_those_in_front(client: coord.Client, other: coord.Client, watcher: Watcher) -> None:
    election = client.election("cron")
    leader = election.campaign("a")
    waiting = []
    for value in ("b", "c"):
        rival = other.election("cron")
        waiting.append(in_thread(lambda rival=rival, value=value: rival.campaign(value, timeout=PATIENCE)))  # type: ignore[misc]  # mypy cannot infer a default's type
        stands(election, len(waiting) + 1)
    with pytest.raises(NoCandidate):
        election.transfer("nobody")
    leader.check()
    election.transfer("c", timeout=PATIENCE)
    assert leader.lost
    leads = waiting[1]()
    stands(election, 2)  # who was in front stands again
    leads.resign()
    waiting[0]().resign()
    until(lambda: watcher.told == [None, "a", "c", "b", None], f"in this order: {watcher.told}")


def _lead_once(election: Election, value: str) -> int:
    with election.lead(value, timeout=PATIENCE) as leader:
        return leader.term


def test_a_revoked_lease_ends_a_term(client: coord.Client, other: coord.Client, watcher: Watcher) -> None:
    leader = client.election("cron", ttl=3).campaign("a")
    other.lease.revoke(leader.lease)
    until(leader.lost.is_set, "the leader hears of it")
    with pytest.raises(LeadershipLost):
        leader.proclaim("b")
    until(lambda: watcher.told == [None, "a", None], "nobody leads, and it is told")


def test_a_function_runs_while_this_process_leads(client: coord.Client, other: coord.Client) -> None:
    began: list[int] = []
    ended: list[int] = []

    def work(leader: Leadership) -> None:
        began.append(leader.term)
        assert leader.lost.wait(PATIENCE)
        ended.append(leader.term)

    election = client.election("cron")
    running = election.run_while_leader(work, value="worker")
    until(lambda: len(began) == 1, "it leads")
    other_leads = in_thread(lambda: other.election("cron").campaign("b", timeout=PATIENCE))
    stands(election, 2)
    election.transfer("b")
    leader = other_leads()
    until(lambda: ended == began, "it was told")
    stands(election, 2)
    leader.resign()
    until(lambda: len(began) == 2, "it leads again")
    assert running.stop()
    assert ended == began
    assert running.error is None
    assert election.candidates() == []


def test_a_client_that_is_closed_ends_what_runs(server: ServerProcess, prefix: bytes) -> None:
    told = threading.Event()
    began = threading.Event()

    def work(leader: Leadership) -> None:
        began.set()
        if leader.lost.wait(PATIENCE):
            told.set()

    with coord.connect(server.endpoint, namespace=prefix) as client:
        client.election("cron").run_while_leader(work)
        assert began.wait(PATIENCE)
    assert told.is_set()


def test_roles_are_reported(client: coord.Client, other: coord.Client) -> None:
    held = other.election("cron").campaign("other")
    reports = client.election("cron", ttl=3).transitions("me", interval=0.2)
    assert [next(reports).report for _ in range(2)] == [Report.FIRST_FOLLOWER, Report.STILL_FOLLOWER]
    held.resign()
    told = [next(reports)]
    while told[-1].report is Report.STILL_FOLLOWER:
        told.append(next(reports))
    leader = told[-1].leader
    assert leader is not None
    assert next(reports).report is Report.STILL_LEADER
    other.delete(leader.key)
    told = [next(reports)]
    while told[-1].report is Report.STILL_LEADER:
        told.append(next(reports))
    assert told[-1].report is Report.TURNED_FOLLOWER, "a leader hears that its key was deleted"
    reports.close()  # type: ignore[attr-defined]  # it is a generator
    assert client.election("cron").candidates() == []


def test_on_asyncio(server: ServerProcess, prefix: bytes) -> None:
    async def follow(election: AsyncElection, told: list[str | None]) -> None:
        async with aclosing(election.observe()) as leaders:  # type: ignore[type-var]  # a generator
            async for leader in leaders:
                told.append(None if leader is None else leader.text)
                if told[-1] == "c":
                    return

    async def lead(election: AsyncElection, value: str) -> None:
        async with election.lead(value, timeout=PATIENCE):
            return

    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE), coord.aio.connect(server.endpoint, namespace=prefix) as client:
            told: list[str | None] = []
            election = client.election("cron")
            async with asyncio.TaskGroup() as group:
                leader = await election.campaign("a")
                group.create_task(follow(client.election("cron"), told))
                for count, value in ((2, "b"), (3, "c")):
                    standing = client.watch("cron/", prefix=True, deletes=False)
                    async with standing:
                        group.create_task(lead(client.election("cron"), value))
                        await anext(standing)
                    assert len(await election.candidates()) == count
                await leader.proclaim("a2")
                await election.transfer("c")
            assert told == [*told[:-2], "a2", "c"]
            cancelled: list[int] = []

            @election.leader_only
            async def job(leader: AsyncLeadership) -> str:
                if cancelled:
                    return "done"
                try:
                    await client.delete(leader.key)
                    await leader.put("k", "v")
                finally:
                    cancelled.append(leader.term)
                return "not reached"

            assert await job() == "done"
            assert await election.candidates() == []

    asyncio.run(main())


def test_a_restart_of_the_server_loses_no_leader(fresh_server: Callable[..., ServerProcess]) -> None:
    server = fresh_server()
    with coord.connect(server.endpoint) as client, coord.connect(server.endpoint) as other:
        with coord.connect(server.endpoint) as third:
            watcher = Watcher(third)
            leader = client.election("cron", ttl=20).campaign("a")
            waiting = in_thread(lambda: other.election("cron", ttl=20).campaign("b", timeout=2 * PATIENCE))
            stands(client.election("cron"), 2)
            server.restart()
            leader.check()
            leader.proclaim("a2", timeout=PATIENCE)
            leader.resign()
            waiting().resign()
            until(lambda: watcher.told[-4:] == ["a", "a2", "b", None], f"each once: {watcher.told}")
        watcher.end()


# --- beside etcdctl


def test_etcdctl_elect_waits_for_us_and_sees_us(
    client: coord.Client, prefix: bytes, etcdctl: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDCTL_API", "3")
    name = (prefix + b"cron").decode()
    election = client.election("cron")
    leader = election.campaign("ours")
    with (
        subprocess.Popen(etcdctl("elect", "-l", name), stdout=subprocess.PIPE, text=True) as looking,
        subprocess.Popen(etcdctl("elect", name, "theirs"), stdout=subprocess.PIPE, text=True) as command,
    ):
        try:
            assert looking.stdout is not None
            assert [looking.stdout.readline().strip() for _ in range(2)] == [(prefix + leader.key).decode(), "ours"]
            stands(election, 2)
            assert command.poll() is None
            leader.resign()
            assert command.stdout is not None
            key, value = (command.stdout.readline().strip() for _ in range(2))
            assert value == "theirs"
            found = election.leader()
            assert found is not None
            assert (found.text, (prefix + found.key).decode()) == ("theirs", key)
            assert looking.stdout.readline().strip() == key
        finally:
            command.terminate()
            looking.kill()
    stands(election, 0)


def test_we_wait_for_etcdctl_and_see_it(
    client: coord.Client,
    watcher: Watcher,
    prefix: bytes,
    etcdctl: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCDCTL_API", "3")
    name = (prefix + b"cron").decode()
    election = client.election("cron")
    with subprocess.Popen(etcdctl("elect", name, "theirs"), stdout=subprocess.PIPE, text=True) as command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline().strip().startswith(name + "/")
            until(lambda: watcher.told == [None, "theirs"], "etcdctl leads")
            waiting = in_thread(lambda: election.campaign("ours", timeout=PATIENCE))
            stands(election, 2)
            command.terminate()
            leader = waiting()
            assert leader.state is LeaseState.HELD
            until(lambda: watcher.told[1:] == ["theirs", "ours"], "we lead")
            leader.resign()
        finally:
            command.kill()


def test_etcdctl_may_be_the_target_and_does_not_step_behind(
    client: coord.Client,
    other: coord.Client,
    prefix: bytes,
    etcdctl: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCDCTL_API", "3")
    name = (prefix + b"cron").decode()
    election = client.election("cron")
    leader = election.campaign("ours")
    with subprocess.Popen(etcdctl("elect", name, "theirs"), stdout=subprocess.PIPE, text=True) as command:
        try:
            stands(election, 2)
            rival = in_thread(lambda: _lead_once(other.election("cron"), "rival"))
            stands(election, 3)
            with pytest.raises(CallTimeout):
                election.transfer("rival", timeout=0)
            leader.check()
            election.transfer("theirs")
            assert command.stdout is not None
            assert command.stdout.readline().strip().startswith(name + "/")
            command.terminate()
            assert rival() > leader.term
        finally:
            command.kill()
