"""When a token must be fetched."""

from __future__ import annotations

import base64
import json

import pytest

from coord.client.connection.credentials import IDLE_LIMIT, Login, jwt_expiry


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2ln"


def test_anonymous_never_logs_in() -> None:
    login = Login(None, None)
    assert not login.known
    assert not login.needed(0.0)


def test_first_use_needs_a_token() -> None:
    login = Login("me", "x")
    assert login.needed(0.0)
    login.accepted("abc.1", 0.0, 1000.0)
    assert not login.needed(1.0)
    assert login.metadata == (("token", "abc.1"),)


def test_use_keeps_a_simple_token_young() -> None:
    login = Login("me", "x")
    login.accepted("abc.1", 0.0, 1000.0)
    for number in range(1, 20):
        assert not login.needed(number * (IDLE_LIMIT - 1))
    assert login.needed(19 * (IDLE_LIMIT - 1) + IDLE_LIMIT)


def test_jwt_is_renewed_before_it_ends_however_much_it_is_used() -> None:
    login = Login("me", "x")
    login.accepted(jwt(exp=1300, username="me"), 0.0, 1000.0)
    assert not login.needed(200.0)
    assert not login.needed(269.0)
    assert login.needed(271.0)


def test_server_whose_clock_is_behind() -> None:
    """Its tokens seem dead at birth; fetching one for each call would never end."""
    login = Login("me", "x")
    login.accepted(jwt(exp=900), 0.0, 1000.0)
    assert not login.needed(1.0)


def test_refusal_drops_the_token_that_was_used_and_no_newer_one() -> None:
    login = Login("me", "x")
    login.accepted("old.1", 0.0, 0.0)
    used = login.generation
    login.accepted("new.2", 1.0, 0.0)
    login.refused(used)
    assert not login.needed(1.0)
    login.refused(login.generation)
    assert login.needed(1.0)


def test_authentication_off_and_on_again() -> None:
    login = Login("me", "x")
    login.not_enabled()
    assert not login.needed(0.0)
    assert login.metadata is None
    login.refused(login.generation)
    assert login.needed(0.0)


def test_no_secret_in_repr() -> None:
    login = Login("me", "secret")
    login.accepted("token.1", 0.0, 0.0)
    assert "secret" not in repr(login)
    assert "token.1" not in repr(login)


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt(exp=5), 5.0),
        (jwt(exp=5.5), 5.5),
        (jwt(name="x"), None),
        (jwt(exp="soon"), None),
        ("GIRacribUIlvAANE.44", None),
        ("a.b.c", None),
        ("a.!!!.c", None),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode().rstrip("=") + ".c", None),
        ("a." + base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("=") + ".c", None),
        ("", None),
    ],
)
def test_expiry_of_tokens(token: str, expires: float | None) -> None:
    assert jwt_expiry(token) == expires
