"""Users, passwords and tokens: against every server, with both clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from coord.client.connection.blocking import BlockingConnection
from coord.errors import AuthenticationFailed, PermissionDenied, RequestRefused, Unsupported
from coord.model import Access, LeaseState, Permission
from coord.recipes.locks.lock import AsyncLock, Lock
from coord.wire import methods
from tests.conftest import make_server
from tests.faces import KINDS, Face, face
from tests.servers import ServerProcess

pytestmark = pytest.mark.timeout(90)

ROOT = {"user": "root", "password": "secret"}


def need_users(f: Face) -> None:
    """Skip where the server has no auth service; a real etcd has one."""
    try:
        f.do(f.client.auth.users())
    except Unsupported:
        pytest.skip("this server has no users")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def guarded(server_kind: str) -> Iterator[ServerProcess]:
    """A server with authentication on, whose tokens live 3 s; user `reader` may read below r/."""
    with make_server(server_kind, flags=["--auth-token-ttl=3", "--bcrypt-cost=4"]) as server:
        server.start()
        with face("blocking", server.endpoint) as f:
            auth = f.client.auth
            need_users(f)
            auth.add_user("root", "secret")
            auth.grant_role("root", "root")
            auth.add_user("reader", "r")
            auth.add_role("reading")
            auth.grant("reading", "r/", prefix=True, access=Access.READ)
            auth.grant_role("reader", "reading")
            auth.enable()
        yield server


def tokens_fetched(f: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a token was asked for while `f` ran (blocking client only)."""
    fetched = []
    send = BlockingConnection._send

    def counted(self: BlockingConnection, line: object, method: methods.Method, *rest: object) -> object:
        if method is methods.AUTHENTICATE:
            fetched.append(1)
        return send(self, line, method, *rest)  # type: ignore[arg-type]  # passed on as it came

    with monkeypatch.context() as patched:
        patched.setattr(BlockingConnection, "_send", counted)
        f()
    return len(fetched)


def test_user_in_the_arguments_and_in_the_url(guarded: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, guarded.endpoint, **ROOT) as f:
        f.do(f.client.put(prefix + b"k", "v"))
    with face(kind, guarded.endpoint.replace("http://", "http://root:secret@")) as f:
        assert f.do(f.client.get(prefix + b"k")).text == "v"


def test_wrong_password(guarded: ServerProcess, kind: str) -> None:
    with face(kind, guarded.endpoint, user="root", password="no") as f:
        with pytest.raises(AuthenticationFailed) as caught:
            f.do(f.client.get("a"))
        assert caught.value.user == "root"
        assert "secret" not in repr(f.client)


def test_no_user(guarded: ServerProcess, kind: str) -> None:
    with face(kind, guarded.endpoint) as f, pytest.raises(AuthenticationFailed):
        f.do(f.client.put("a", "b"))


def test_permissions(guarded: ServerProcess, kind: str) -> None:
    with face(kind, guarded.endpoint, user="reader", password="r") as f:
        assert f.do(f.client.get("r/x")) is None
        with pytest.raises(PermissionDenied):
            f.do(f.client.get("s/x"))
        with pytest.raises(PermissionDenied):
            f.do(f.client.put("r/x", "y"))
        with pytest.raises(PermissionDenied):
            f.do(f.client.auth.users())


def test_who_is_there(guarded: ServerProcess, kind: str) -> None:
    with face(kind, guarded.endpoint, **ROOT) as f:
        auth = f.client.auth
        assert f.do(auth.users()) == ("reader", "root")
        assert "reading" in f.do(auth.roles())
        assert f.do(auth.user_roles("reader")) == ("reading",)
        assert f.do(auth.permissions("reading")) == (Permission(Access.READ, b"r/", b"r0"),)


def test_changes_of_users_and_roles(guarded: ServerProcess, kind: str) -> None:
    with face(kind, guarded.endpoint, **ROOT) as f:
        auth = f.client.auth
        f.do(auth.add_user("new", "1"))
        f.do(auth.add_role("more"))
        f.do(auth.grant("more", "m"))
        f.do(auth.grant_role("new", "more"))
        with face(kind, guarded.endpoint, user="new", password="1") as other:
            other.do(other.client.put("m", "x"))
            f.do(auth.revoke("more", "m"))
            with pytest.raises(PermissionDenied):
                other.do(other.client.put("m", "x"))
        f.do(auth.revoke_role("new", "more"))
        f.do(auth.change_password("new", "2"))
        with face(kind, guarded.endpoint, user="new", password="1") as other, pytest.raises(AuthenticationFailed):
            other.do(other.client.get("m"))
        f.do(auth.delete_user("new"))
        f.do(auth.delete_role("more"))
        with pytest.raises(RequestRefused):
            f.do(auth.user_roles("new"))


def test_idle_past_the_life_of_the_token(guarded: ServerProcess, kind: str, prefix: bytes) -> None:
    """A client that was idle for longer than tokens live notices nothing."""
    with face(kind, guarded.endpoint, **ROOT) as f:
        f.do(f.client.put(prefix + b"k", "1"))
        metadata = f.client._core.login.metadata
        wait_until_tokens_die(guarded)
        f.do(f.client.put(prefix + b"k", "2"))
        assert f.do(f.client.get(prefix + b"k")).version == 2
        assert f.client._core.login.metadata != metadata


@pytest.mark.parametrize("cut", [False, True])
def test_a_watch_and_a_keeper_outlive_their_tokens(guarded: ServerProcess, kind: str, prefix: bytes, cut: bool) -> None:
    """Idle for longer than tokens live, and cut off on top of it: no event is missed, no lease and no lock is lost."""

    async def opened() -> Any:
        return await f.client.watch(prefix, prefix=True).__aenter__()

    with face(kind, guarded.endpoint, timeout=20, **ROOT) as f, face("blocking", guarded.endpoint, **ROOT) as other:
        kinds = Lock if kind == "blocking" else AsyncLock
        held = f.do(kinds(f.client, prefix + b"lock", ttl=30 if cut else 5).acquire())
        watch = f.client.watch(prefix, prefix=True).__enter__() if kind == "blocking" else f.do(opened())
        wait_until_tokens_die(guarded)
        if cut:
            guarded.probe = False
            guarded.restart()
        other.client.put(prefix + b"k", "x", timeout=20)
        assert [event.item.key for event in f.do(watch.next(timeout=20)).events] == [prefix + b"k"]
        assert held.state is LeaseState.HELD
        f.do(held.put(prefix + b"owned", "x", timeout=20))
        assert f.do(held.release())
        later = f.do(kinds(f.client, prefix + b"lock", ttl=40).acquire(timeout=20))  # a lease that the keeper asks for
        assert f.do(later.release())
        f.do(watch.close())


def wait_until_tokens_die(server: ServerProcess) -> None:
    """Until tokens fetched now are forgotten. Looking at one renews it, so each of many is looked at once."""
    with grpc.insecure_channel(server.target) as channel:
        authenticate = channel.unary_unary(methods.AUTHENTICATE.path)
        read = channel.unary_unary(methods.KV_RANGE.path)
        request = methods.AUTHENTICATE.request(name="root", password="secret").SerializeToString()
        answers = [authenticate(request) for _ in range(40)]
        for answer in answers:
            token = methods.AUTHENTICATE.response.FromString(answer).token
            threading.Event().wait(0.25)  # between two looks
            try:
                read(methods.KV_RANGE.request(key=b"a").SerializeToString(), metadata=(("token", token),))
            except grpc.RpcError:
                return
    pytest.fail("tokens do not die")


def test_idle_token_is_fetched_before_it_is_refused(
    guarded: ServerProcess, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with face("blocking", guarded.endpoint, **ROOT) as f:
        f.client.put(prefix + b"k", "1")
        f.client._core.login._used -= 250

        def put() -> None:
            f.client.put(prefix + b"k", "2")

        assert tokens_fetched(put, monkeypatch) == 1


def test_refused_token_is_fetched_once_for_all(
    guarded: ServerProcess, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with face("blocking", guarded.endpoint, **ROOT) as f:
        f.client.put(prefix + b"k", "1")
        f.client._core.login.metadata = (("token", "nonsense.1"),)

        def many() -> None:
            threads = [threading.Thread(target=f.client.get, args=(prefix + b"k",)) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert 1 <= tokens_fetched(many, monkeypatch) <= 2


def test_restarted_server_forgets_tokens(guarded: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, guarded.endpoint, timeout=20, **ROOT) as f:
        f.do(f.client.put(prefix + b"k", "1"))
        guarded.probe = False
        guarded.restart()
        f.do(f.client.put(prefix + b"k", "2"))
        assert f.do(f.client.get(prefix + b"k")).version == 2


def test_user_given_while_authentication_is_off(server: ServerProcess, kind: str, prefix: bytes) -> None:
    with face(kind, server.endpoint) as f:
        need_users(f)
    with face(kind, server.endpoint, **ROOT) as f:
        f.do(f.client.put(prefix + b"k", "1"))
        assert f.do(f.client.get(prefix + b"k")).text == "1"


def test_a_server_without_authentication_is_asked_for_a_token_once(
    server: ServerProcess, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with face("blocking", server.endpoint) as f:
        need_users(f)
    with face("blocking", server.endpoint, **ROOT) as f:

        def several() -> None:
            for _ in range(3):
                f.client.put(prefix + b"k", "1")

        assert tokens_fetched(several, monkeypatch) == 1


def test_authentication_goes_on_and_off_under_a_client(fresh_server: Callable[..., ServerProcess], kind: str) -> None:
    server = fresh_server("--bcrypt-cost=4")
    with face(kind, server.endpoint) as f:
        need_users(f)
    with face(kind, server.endpoint, **ROOT) as f:
        auth = f.client.auth
        f.do(f.client.put("a", "1"))
        f.do(auth.add_user("root", "secret"))
        f.do(auth.grant_role("root", "root"))
        f.do(auth.enable())
        f.do(f.client.put("a", "2"))
        f.do(auth.disable())
        f.do(f.client.put("a", "3"))
        assert f.do(f.client.get("a")).text == "3"
