"""Arguments of a client."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from coord.client import base
from coord.client.blocking import BlockingClient
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.errors import UsageError
from coord.model import DEFAULT, Header, ServerStatus


def test_endpoints_in_every_form() -> None:
    expected = (Endpoint("a:1"), Endpoint("b:2", True), Endpoint("c:3"))
    assert base.settings("http://a:1,https://b:2,http://c:3", None, None, None).endpoints == expected
    assert base.settings(["a:1", Endpoint("b:2", True), "c:3", "a:1"], None, None, None).endpoints == expected


def test_arguments_win_over_the_url() -> None:
    url = "http://me:pw@a:1"
    assert (base.settings(url, None, None, None).user, base.settings(url, None, None, None).password) == ("me", "pw")
    assert (base.settings(url, "you", "x", None).user, base.settings(url, "you", "x", None).password) == ("you", "x")
    assert base.settings("http://me@a:1", None, "x", None).password == "x"


@pytest.mark.parametrize("endpoints", ["", [], "ftp://a"])
def test_no_endpoints(endpoints: base.Endpoints) -> None:
    with pytest.raises(UsageError):
        base.settings(endpoints, None, None, None)


def test_contradictions() -> None:
    with pytest.raises(UsageError, match="https"):
        base.settings("http://a", None, None, Tls())
    with pytest.raises(UsageError, match="user"):
        base.settings("http://a", None, "x", None)
    wrong: dict[str, Any]
    for wrong in ({"user": 5}, {"user": "me", "password": b"x"}, {"tls": {"ca": "x"}}, {"tls": True}):
        with pytest.raises(UsageError, match=r"text|Tls"):
            BlockingClient("https://a", **wrong)
    with pytest.raises(UsageError):
        BlockingClient("a", timeout=-1)
    with pytest.raises(UsageError):
        BlockingClient("a", namespace=5)  # type: ignore[arg-type]  # the point of the test


def test_no_secret_in_repr() -> None:
    assert "secret" not in repr(base.settings("a", "me", "secret", None))
    assert "BEGIN" not in repr(Tls(ca=b"-----BEGIN"))


def test_state() -> None:
    client = BlockingClient("a:1,b:2", namespace="/n/", timeout=None)
    assert repr(client) == "<BlockingClient a:1,b:2 idle namespace='/n/'>"
    assert (client.namespace, client.timeout, client.endpoints) == (b"/n/", None, ("a:1", "b:2"))
    assert not client.closed
    client.close()
    client.close()
    assert client.closed
    assert repr(client) == "<BlockingClient closed namespace='/n/'>"


def test_it_does_not_travel() -> None:
    with BlockingClient("a:1") as client:
        for travel in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                travel(client)


def test_an_endpoint_by_name() -> None:
    with BlockingClient("https://a:1,b:2") as client:
        assert client.endpoint("a:1") == Endpoint("a:1", True), "a known one lends its TLS"
        assert client.endpoint("http://new:5") == Endpoint("new:5")
        assert client.endpoint(None) in client._core.endpoints


def test_one_timeout_for_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call had the whole of it, so together they took a multiple."""
    instant = 100.0
    monkeypatch.setattr(base, "now", lambda: instant)
    with BlockingClient("a:1", timeout=5) as client:
        left = client._one_time(DEFAULT)
        assert left() == 5
        instant += 4
        assert left() == 1
        instant += 4
        assert left() == base.LEFT_LEAST > 0, "not 0, which is an attempt of its own"
        assert client._one_time(0)() == 0
        assert client._one_time(None)() is None


def test_finding_the_leader_takes_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = 100.0
    monkeypatch.setattr(base, "now", lambda: instant)
    asked: list[Any] = []

    def slow(call: Any, timeout: Any, **_where: Any) -> Any:
        nonlocal instant
        asked.append(timeout)
        instant += 4
        return ServerStatus(Header(member_id=1), "a:1", leader=1)

    with BlockingClient("a:1", timeout=5) as client:
        monkeypatch.setattr(client, "run", slow)
        client.leader()
        client.maintenance.move_leader(2)
    assert asked == [5, 1, 5, 1, pytest.approx(0.001)]
