"""Watches and sessions when the server changes under them: another member, another token, another history, none yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from coord.client.blocking import BlockingClient
from coord.client.connection.blocking import BlockingConnection
from coord.errors import HistoryLost, PermissionDenied
from coord.model import LeaseState
from coord.port import WatchTarget
from coord.wire import auth_pb2, methods, rpc_pb2
from tests.benches import KINDS, Bench, make_bench, no_threads_left
from tests.conftest import make_server
from tests.servers import ServerProcess, running_cluster
from tests.waiting import until

pytestmark = pytest.mark.process

SECONDS = 20.0


# --- another member


def test_a_watch_and_a_session_survive_the_death_of_their_member() -> None:
    with running_cluster("etcd34") as members:
        endpoints = [member.endpoint for member in members]
        with BlockingClient(endpoints) as client, BlockingClient(endpoints) as other, no_threads_left():
            session = client.session(8)
            with client.watch("w/", prefix=True) as watch:
                wanted = []
                for member in members[:1]:
                    wanted += [other.put(f"w/{n}", timeout=SECONDS).revision for n in range(5)]
                    member.kill()
                    wanted += [_put_once(other, f"w/{n}") for n in range(5)]
                    member.start(wait=False)
                got = [watch.next(timeout=SECONDS).revision for _ in wanted]
                assert got == sorted(got) == wanted
            until(lambda: session.state is LeaseState.HELD, "the session is renewed")
            client.close()


def _put_once(client: BlockingClient, key: str) -> int:
    """Put, again after an unknown outcome; returns the revision of the one that counts."""
    value = f"{time.monotonic_ns()}"
    while True:
        try:
            client.put(key, value, timeout=SECONDS)
        except Exception:
            if (found := client.get(key, timeout=SECONDS)) is None or found.text != value:
                continue
        found = client.get(key, timeout=SECONDS)
        assert found is not None
        return found.mod_revision


# --- another token


def enable_auth(client: BlockingClient) -> None:
    """Users root and reader; reader may use what begins with "open/"."""
    permission = auth_pb2.Permission(permType=auth_pb2.Permission.READWRITE, key=b"open/", range_end=b"open0")
    client.call(methods.ROLE_ADD, rpc_pb2.AuthRoleAddRequest(name="root"))
    client.call(methods.ROLE_ADD, rpc_pb2.AuthRoleAddRequest(name="some"))
    client.call(methods.ROLE_GRANT_PERMISSION, rpc_pb2.AuthRoleGrantPermissionRequest(name="some", perm=permission))
    for user, role in (("root", "root"), ("reader", "some")):
        client.call(methods.USER_ADD, rpc_pb2.AuthUserAddRequest(name=user, password="secret"))
        client.call(methods.USER_GRANT_ROLE, rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role))
    client.call(methods.AUTH_ENABLE, rpc_pb2.AuthEnableRequest())


@pytest.fixture(scope="module", params=["etcd34", "etcd35"])
def guarded(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with make_server(request.param, flags=["--bcrypt-cost=4"]) as server:
        server.start()
        with BlockingClient(server.endpoint) as client:
            enable_auth(client)
        server.probe = False
        yield server


def test_a_lost_token_is_renewed_under_watch_and_session(guarded: ServerProcess) -> None:
    with BlockingClient(guarded.endpoint, user="reader", password="secret") as client, no_threads_left():
        session = client.session(8)
        with client.watch("open/", prefix=True) as watch:
            first = client.put("open/a", lease=session.lease).revision
            guarded.stop()  # etcd keeps simple tokens in memory
            guarded.start()
            second = client.put("open/a", lease=session.lease, timeout=SECONDS).revision
            assert [watch.next(timeout=SECONDS).revision for _ in range(2)] == [first, second]
        until(lambda: session.remaining() > 5, "the session is renewed")
        client.close()


def test_a_watch_that_is_not_permitted_says_so(guarded: ServerProcess) -> None:
    with BlockingClient(guarded.endpoint, user="reader", password="secret") as client:
        with pytest.raises(PermissionDenied), client.watch("closed/", prefix=True, timeout=SECONDS):
            pass
        with client.watch("open/", prefix=True) as watch:
            client.put("open/a")
            assert watch.next(timeout=SECONDS).events


# --- another history


def test_a_replaced_server_is_a_lost_history_for_watch_and_session() -> None:
    with make_server("etcd34") as old, make_server("etcd34") as new:
        old.start()
        with BlockingClient(old.endpoint) as client, no_threads_left():
            session = client.session(30)
            told = threading.Event()
            session.on_lost(told.set)
            with client.watch("w") as watch:
                client.put("w")
                assert watch.next(timeout=SECONDS).events
                old.kill()
                new.endpoint = old.endpoint
                new.start()
                with pytest.raises(HistoryLost):
                    watch.next(timeout=SECONDS)
            assert told.wait(SECONDS)
            assert session.cause == "history"
            with client.watch("w") as watch:
                client.put("w", timeout=SECONDS)
                assert watch.next(timeout=SECONDS).events
            client.close()


# --- none yet


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_started_for_who_only_asks_for_a_session(kind: str) -> None:
    with make_server("etcd34") as server:
        bench = make_bench(kind, server.target)

        async def scenario() -> None:
            _start_when_unreachable(bench, server)
            await bench.port.session(10, deadline=bench.port.now() + SECONDS)

        bench.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_started_for_who_only_watches(kind: str) -> None:
    with make_server("etcd34") as server:
        bench = make_bench(kind, server.target)

        async def scenario() -> None:
            _start_when_unreachable(bench, server)
            watching = bench.port.watch([WatchTarget(b"w")], from_revision=0)
            await watching.confirmed(deadline=bench.port.now() + SECONDS)
            watching.close()

        bench.run(scenario())


def _start_when_unreachable(bench: Bench, server: ServerProcess) -> None:
    def start(_left: float | None) -> None:
        if not server.running:
            server.start()

    async def start_async(_left: float | None) -> None:
        start(None)

    connection = bench.connections[0]
    if isinstance(connection, BlockingConnection):
        connection._unreachable = start
    else:
        connection._unreachable = start_async
