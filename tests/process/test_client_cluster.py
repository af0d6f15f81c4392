"""Calls to a real cluster of three whose members are killed, frozen and restarted one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from coord.client.blocking import BlockingClient
from coord.errors import CallTimeout, CoordError, OutcomeUnknown, Unavailable
from coord.model import Member, ServerStatus
from tests.faces import KINDS, face
from tests.servers import ServerProcess, running_cluster

pytestmark = [pytest.mark.process, pytest.mark.real_etcd, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=["etcd34", "etcd35"])
def cluster(request: pytest.FixtureRequest) -> Iterator[list[ServerProcess]]:
    with running_cluster(request.param, flags=["--heartbeat-interval=20", "--election-timeout=200"]) as members:
        yield members


def endpoints(cluster: list[ServerProcess]) -> str:
    return ",".join(member.endpoint for member in cluster)


class Writer:
    """Puts one key again and again, reads it back, and keeps account of what it was told."""

    def __init__(self, client: BlockingClient, key: str) -> None:
        self.client, self.key = client, key
        self.done = self.unknown = self.failed = 0
        self.errors: list[CoordError] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.client.put(self.key, "x", timeout=3)
                self.done += 1
            except OutcomeUnknown:
                self.unknown += 1
            except (Unavailable, CallTimeout):
                self.failed += 1
            except CoordError as error:
                self.errors.append(error)
            self.check()

    def check(self) -> None:
        """A linearizable read sees every put that was acknowledged, and none that was not sent."""
        try:
            found = self.client.get(self.key, timeout=3)
        except (Unavailable, CallTimeout):
            return
        except CoordError as error:
            self.errors.append(error)
            return
        version = found.version if found is not None else 0
        if not self.done <= version <= self.done + self.unknown:
            self.errors.append(CoordError(f"version {version}, done {self.done}, unknown {self.unknown}"))


def disturb(cluster: list[ServerProcess], how: str) -> None:
    for member in cluster:
        if how == "kill":
            member.kill()
            member.start()
        else:
            member.pause()
            try:
                threading.Event().wait(1.5)  # longer than an election
            finally:
                member.resume()
            member.wait_ready()


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_no_write_is_doubled_or_lost_and_no_history_is(cluster: list[ServerProcess], how: str) -> None:
    with BlockingClient(endpoints(cluster)) as client:
        writers = [Writer(client, f"{how}/{number}") for number in range(4)]
        try:
            disturb(cluster, how)
        finally:
            for writer in writers:
                writer.stop.set()
            for writer in writers:
                writer.thread.join()
        for writer in writers:
            assert writer.errors == []
            assert writer.done > 0
            writer.check()
            assert writer.errors == []


@pytest.mark.parametrize("kind", KINDS)
def test_leader_can_be_asked_for_and_moved(cluster: list[ServerProcess], kind: str) -> None:
    with face(kind, endpoints(cluster), timeout=10) as f:
        members: tuple[Member, ...] = f.do(f.client.members())
        assert len(members) == 3
        status: ServerStatus = f.do(f.client.status())
        other = next(member for member in members if member.id != status.leader)
        f.do(f.client.maintenance.move_leader(other.id))
        statuses = [f.do(f.client.status(member.endpoint)) for member in cluster]
        assert {each.leader for each in statuses} == {other.id}
        leader = f.do(f.client.leader())
        assert f"http://{leader}" in other.client_urls


@pytest.mark.parametrize("kind", KINDS)
def test_minority_refuses_writes_and_serves_old_reads(cluster: list[ServerProcess], kind: str) -> None:
    """Only serializable reads need no majority."""
    with face(kind, endpoints(cluster[:1]), timeout=20) as f:
        f.do(f.client.put("minority", "x"))
        for member in cluster[1:]:
            member.kill()
        try:
            assert f.do(f.client.get("minority", serializable=True)).text == "x"
            with pytest.raises((CallTimeout, Unavailable)):
                f.do(f.client.get("minority", timeout=2))
            with pytest.raises((OutcomeUnknown, CallTimeout, Unavailable)):
                f.do(f.client.put("minority", "y", timeout=2))
        finally:
            for member in cluster[1:]:
                member.start(wait=False)
            for member in cluster:
                member.wait_ready()
        assert f.do(f.client.get("minority")).version in (1, 2, 3, 4)


def test_member_is_added_and_removed(cluster: list[ServerProcess]) -> None:
    with BlockingClient(endpoints(cluster), timeout=20) as client:
        added = client.maintenance.add_member(["http://127.0.0.1:1"], learner=True)
        assert added.learner
        assert added.id in {member.id for member in client.members()}
        left = client.maintenance.remove_member(added.id)
        assert len(left) == 3
