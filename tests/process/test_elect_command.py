"""`coord elect NAME [VALUE]`, against the bundled server and real etcd, alone and beside etcdctl."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

import coord as coord_client
from tests.process.actors import Actor, coord
from tests.servers import ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.process


def elect(server: ServerProcess, *words: str) -> Actor:
    return coord("--endpoints", server.endpoint, "elect", *words)


def test_one_leads_and_the_next_one_follows(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "turns"
    with elect(server, "-l", name) as looking, elect(server, name, "first") as first:
        first.wait_for("first")
        looking.wait_for("first")
        with elect(server, name, "second", "--ttl", "3") as second:
            with coord_client.connect(server.endpoint) as client:
                until(lambda: len(client.election(name).candidates()) == 2, "the second stands")
            assert second.said("second") is None
            first.signal(signal.SIGTERM)
            assert first.end() == 143, first.text
            second.wait_for("second")
            looking.wait_for("second")
            second.signal(signal.SIGINT)
            second.end()
        assert [line for _, line in looking.lines if not line.startswith(name)] == ["first", "second"]


def test_not_in_time_is_code_75_and_lost_is_76(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "busy"
    with elect(server, name, "first") as first:
        first.wait_for("first")
        with elect(server, name, "second", "--timeout", "0.2") as second:
            assert second.end() == 75, second.text
        with coord_client.connect(server.endpoint) as client:
            leader = client.election(name).leader()
            assert leader is not None
            client.lease.revoke(leader.lease)
        assert first.end() == 76, first.text


def test_json_and_wrong_words(server: ServerProcess, prefix: bytes) -> None:
    name = prefix.decode() + "json"
    with elect(server, "-l", name, "-w", "json") as looking:
        looking.wait_for("{")
        assert json.loads(looking.lines[0][1]) == {"kvs": [], "count": 0}
    with elect(server, "-l", name, "value") as wrong:
        assert wrong.end() == 2


def test_beside_etcdctl(server: ServerProcess, prefix: bytes) -> None:
    etcdctl = shutil.which("etcdctl")
    if etcdctl is None:
        pytest.skip("etcdctl is missing: apt-get install etcd-client")
    name = prefix.decode() + "both"
    environment = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": server.target}
    with Actor(etcdctl, "elect", name, "theirs", environment=environment) as theirs:
        theirs.wait_for("theirs")
        with elect(server, name, "ours") as ours, elect(server, "-l", name) as looking:
            looking.wait_for("theirs")
            theirs.signal(signal.SIGTERM)
            ours.wait_for("ours")
            with Actor(etcdctl, "elect", "-l", name, environment=environment) as listening:
                listening.wait_for("ours")
