"""Reading URLs."""

from __future__ import annotations

import pytest

from coord.client.connection.urls import Endpoint, Target, parse
from coord.errors import UsageError


def plain(*addresses: str) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(address) for address in addresses)


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("localhost", plain("localhost:2379")),
        ("localhost:1", plain("localhost:1")),
        ("127.0.0.1:2379", plain("127.0.0.1:2379")),
        ("http://a:1", plain("a:1")),
        ("http://a:1/", plain("a:1")),
        ("HTTP://a:1", plain("a:1")),
        ("https://a", (Endpoint("a:2379", True),)),
        ("etcd://a:1,b:2", plain("a:1", "b:2")),
        ("etcd://a,b , c", plain("a:2379", "b:2379", "c:2379")),
        ("etcds://a,b:1", (Endpoint("a:2379", True), Endpoint("b:1", True))),
        ("https://a,b", (Endpoint("a:2379", True), Endpoint("b:2379", True))),
        ("https://a,http://b", (Endpoint("a:2379", True), Endpoint("b:2379"))),
        ("http://a,http://a", plain("a:2379")),
        ("[::1]:5", plain("[::1]:5")),
        ("http://[fe80::1]", plain("[fe80::1]:2379")),
        ("::1", plain("[::1]:2379")),
        ("unix:///run/coord/sock", plain("unix:/run/coord/sock")),
        ("unix:/run/coord/sock", plain("unix:/run/coord/sock")),
        ("unix://relative/sock", plain("unix:relative/sock")),
        ("unix:///with%20space", plain("unix:/with space")),
        ("unix:///s,a:1", plain("unix:/s", "a:1")),
    ],
)
def test_endpoints(url: str, endpoints: tuple[Endpoint, ...]) -> None:
    assert parse(url) == Target(endpoints)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("http://me:secret@a", "me", "secret"),
        ("http://me@a", "me", None),
        ("http://me:@a", "me", ""),
        ("etcd://me:s%40%2Cx@a,b", "me", "s@,x"),
        ("etcd://me:p@a,me:p@b", "me", "p"),
        ("me:p@a:1", "me", "p"),
    ],
)
def test_user(url: str, user: str, password: str | None) -> None:
    found = parse(url)
    assert (found.user, found.password) == (user, password)
    assert found.endpoints[0].address.startswith("a:")


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        ",",
        "a,",
        "http://",
        "http://:1",
        "://a",
        "ftp://a",
        "memory://",
        "a:0",
        "a:65536",
        "a:x",
        "a:-1",
        "a:٣",
        "http://a/path",
        "http://a?x=1",
        "http://@a",
        "http://one@a,two@b",
        "unix://",
        "[::1",
        "[::1]x",
        "[]:1",
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(UsageError):
        parse(url)


def test_no_password_in_messages_and_reprs() -> None:
    assert "secret" not in repr(parse("http://me:secret@a"))
    with pytest.raises(UsageError) as caught:
        parse("http://me:secret@a,")
    assert "secret" not in str(caught.value)
