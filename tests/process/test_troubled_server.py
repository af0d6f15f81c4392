"""The server that misbehaves on order, and the fixtures that pytest offers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import coord
from coord.errors import CallTimeout, Compacted, OutcomeUnknown
from coord.testing.server import TroubledServer

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ["pytester"]


@pytest.fixture
def server() -> Iterator[TroubledServer]:
    with TroubledServer() as made:
        yield made


@pytest.fixture
def client(server: TroubledServer) -> Iterator[coord.Client]:
    with coord.connect(server.url, timeout=5) as made:
        yield made


def test_an_expired_lease_loses_the_lock(server: TroubledServer, client: coord.Client) -> None:
    held = client.lock("stock").acquire()
    server.expire(held.lease)
    assert held.lost.wait(20)
    with pytest.raises(coord.LockLost):
        held.check()
    with client.lock("stock", timeout=20):
        pass


def test_what_was_compacted_cannot_be_read(server: TroubledServer, client: coord.Client) -> None:
    first = client.put("a", "1").revision
    client.put("a", "2")
    assert server.compact() > first
    with pytest.raises(Compacted):
        client.get("a", revision=first)


def test_a_restart_keeps_data_and_locks(server: TroubledServer, client: coord.Client) -> None:
    with client.lock("stock") as held:
        server.restart()
        held.put("a", "1", timeout=20)
    found = client.get("a")
    assert found is not None
    assert found.text == "1"


def test_nothing_passes_a_partition(server: TroubledServer, client: coord.Client) -> None:
    client.put("a", "1")
    with server.partition():
        with pytest.raises((CallTimeout, OutcomeUnknown)):
            client.get("a", timeout=0.3)
        assert server.direct.get("a") is not None
    assert client.get("a", timeout=20) is not None


def test_a_lost_reply_leaves_the_outcome_unknown(server: TroubledServer, client: coord.Client) -> None:
    client.put("a", "1")
    with server.lose_replies(), pytest.raises(OutcomeUnknown) as unknown:
        client.put("a", "2", timeout=0.5)
    assert unknown.value.outcome_known is False
    found = client.get("a", timeout=20)
    assert found is not None
    assert found.text == "2"


def test_a_frozen_server_answers_afterwards(server: TroubledServer, client: coord.Client) -> None:
    client.put("a", "1")
    with server.freeze(), pytest.raises((CallTimeout, OutcomeUnknown)):
        client.get("a", timeout=0.3)
    assert client.get("a", timeout=20) is not None


def test_nothing_is_left() -> None:
    before = set(threading.enumerate())
    with TroubledServer() as made, coord.connect(made.url) as client:
        client.put("a", "1")
        made.restart()
        home = made._home
    left = [each for each in set(threading.enumerate()) - before if each.is_alive()]
    assert not left
    assert not home.exists()
    made.close()


def test_pytest_offers_the_fixtures(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a checkout that is not installed has no entry point
    pytester.makepyfile(
        """
        import coord

        def test_client(coord_client):
            with coord.lock("stock") as held:
                held.put("a", "1")
            assert coord_client.get("a").text == "1"

        def test_each_has_its_own(coord_server, coord_client):
            assert coord_client.get("a") is None
            coord_server.restart()
            coord_client.put("a", "2", timeout=20)
        """
    )
    pytester.runpytest_subprocess("-p", "coord.testing.plugin", "-p", "no:cacheprovider").assert_outcomes(passed=2)
