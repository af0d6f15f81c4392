"""Go programs on clientv3/concurrency and ours want the same lock, or to lead: they take turns, whoever serves them.

Built from Debian's golang-go and golang-etcd-server-dev; nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import coord
from tests.process.actors import Actor, python
from tests.servers import ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

SOURCES = Path(__file__).with_name("gopeer")
GOPATH = "/usr/share/gocode"
ROUNDS = 25

COUNTING = """
import sys, coord
endpoint, name, rounds = sys.argv[1:]
with coord.connect(endpoint, timeout=20) as client:
    for _ in range(int(rounds)):
        with client.lock(name, ttl=3):
            seen = client.get(name + ".counter")
            client.put(name + ".counter", str(int(seen.text if seen else 0) + 1))
print("done")
"""

Peer = Callable[..., Actor]


def _missing(reason: str) -> None:
    if os.environ.get("COORD_REQUIRE_GO") == "1":
        pytest.fail(f"COORD_REQUIRE_GO=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built peer."""
    go = shutil.which("go")
    if go is None or not Path(GOPATH, "src/go.etcd.io/etcd/clientv3").is_dir():
        _missing("no Go client of etcd here: apt-get install golang-go golang-etcd-server-dev")
    home = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": GOPATH, "GOCACHE": str(home / "cache")}
    built = home / "gopeer"
    subprocess.run([str(go), "build", "-o", built, "."], cwd=SOURCES, env=environment, check=True, timeout=280)
    shutil.rmtree(home / "cache", ignore_errors=True)
    return built


@pytest.fixture
def peer(program: Path, server: ServerProcess) -> Iterator[Peer]:
    with ExitStack() as stack:

        def start(kind: str, name: str, *words: str) -> Actor:
            return stack.enter_context(Actor(str(program), kind, server.endpoint, name, *words, spoken_to=True))

        yield start


@pytest.fixture
def client(server: ServerProcess) -> Iterator[coord.Client]:
    with coord.connect(server.endpoint, timeout=20) as made:
        yield made


@pytest.fixture
def name(prefix: bytes) -> str:
    return "go-" + prefix.decode().rstrip("/")


def _contenders(client: coord.Client, name: str) -> int:
    return len(client.range(name + "/", prefix=True, keys_only=True).items)


def test_go_waits_for_our_lock(client: coord.Client, peer: Peer, name: str) -> None:
    with client.lock(name) as held:
        waiting = peer("mutex", name)
        until(lambda: _contenders(client, name) == 2, "two stand in line")
        assert waiting.said("have") is None
        held.check()
    waiting.wait_for("have")
    waiting.tell("go")
    assert waiting.end() == 0, waiting.text
    assert _contenders(client, name) == 0


def test_we_wait_for_a_lock_of_go(client: coord.Client, peer: Peer, name: str) -> None:
    holder = peer("mutex", name)
    holder.wait_for("have")
    assert client.lock(name).try_acquire() is None
    (seen,) = client.lock(name).contenders()
    assert f"have {seen.key.decode()} " in holder.text
    holder.tell("go")
    with client.lock(name, timeout=30) as held:
        assert held.fence > seen.create_revision


def test_a_killed_go_holder_loses_it_to_us(client: coord.Client, peer: Peer, name: str) -> None:
    holder = peer("mutex", name)
    holder.wait_for("have")
    holder.signal(signal.SIGKILL)
    with client.lock(name, timeout=30):
        assert not holder.running


def test_they_count_together_and_nothing_is_lost(
    client: coord.Client, peer: Peer, server: ServerProcess, name: str
) -> None:
    actors = [peer("mutex", name, str(ROUNDS)) for _ in range(2)]
    with ExitStack() as stack:
        actors += [stack.enter_context(python(COUNTING, server.endpoint, name, str(ROUNDS))) for _ in range(2)]
        for actor in actors:
            assert actor.end(120) == 0, actor.text
    counted = client.get(name + ".counter")
    assert counted is not None
    assert int(counted.text) == ROUNDS * len(actors)
    assert _contenders(client, name) == 0


def test_go_waits_for_our_leader_and_follows_whom_we_follow(client: coord.Client, peer: Peer, name: str) -> None:
    election = client.election(name)
    observer = peer("observe", name)
    with election.lead("ours") as leader:
        observer.wait_for("leader ours")
        leader.proclaim("ours, busy")
        observer.wait_for("leader ours, busy")
        waiting = peer("election", name)
        until(lambda: len(election.candidates()) == 2, "two stand")
        assert waiting.said("have") is None
        leader.check()
    waiting.wait_for("have")
    observer.wait_for("leader go")
    found = election.leader()
    assert found is not None
    assert f"have {found.key.decode()} {found.term}" in waiting.text
    waiting.tell("go")
    assert waiting.end() == 0, waiting.text
    assert election.leader() is None


def test_we_wait_for_a_leader_of_go_and_observe_it(client: coord.Client, peer: Peer, name: str) -> None:
    election = client.election(name)
    told = election.observe()
    assert next(told) is None
    holder = peer("election", name)
    seen = next(told)
    assert seen is not None
    assert seen.text == "go"
    holder.tell("go")
    with election.lead("ours", timeout=30) as leader:
        assert leader.term > seen.term


def test_leadership_is_passed_on_to_go_but_not_over_it(client: coord.Client, peer: Peer, name: str) -> None:
    election = client.election(name)
    leader = election.campaign("ours")
    first = peer("election", name)
    until(lambda: len(election.candidates()) == 2, "Go stands")
    second = peer("election", name)
    until(lambda: len(election.candidates()) == 3, "and once more")
    ours, one, other = election.candidates()
    assert ours.key == leader.key
    with pytest.raises(coord.CallTimeout):
        election.transfer(other, timeout=0)
    leader.check()
    election.transfer(one)
    first.wait_for("have")
    assert second.said("have") is None
    first.tell("go")
    second.wait_for("have")
    second.tell("go")
    assert second.end() == 0, second.text


def test_they_lead_in_turns_and_nothing_is_lost(
    client: coord.Client, peer: Peer, server: ServerProcess, name: str
) -> None:
    program = COUNTING.replace("client.lock(name, ttl=3)", 'client.election(name, ttl=3).lead("ours")')
    actors = [peer("election", name, str(ROUNDS)) for _ in range(2)]
    with ExitStack() as stack:
        actors += [stack.enter_context(python(program, server.endpoint, name, str(ROUNDS))) for _ in range(2)]
        for actor in actors:
            assert actor.end(120) == 0, actor.text
    counted = client.get(name + ".counter")
    assert counted is not None
    assert int(counted.text) == ROUNDS * len(actors)
    assert client.election(name).candidates() == []
