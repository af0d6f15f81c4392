"""Registry and discovery over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coord
from coord.recipes.registry.instance import Instance
from coord.recipes.registry.roster import ChangeKind
from tests.servers import ROOT, ServerProcess
from tests.waiting import PATIENCE, until

TTL = 2  # the shortest that etcd grants with its usual election time-out

JOINED, UPDATED, LEFT = ChangeKind.JOINED, ChangeKind.UPDATED, ChangeKind.LEFT


class Listener:
    """Collects the changes of a service in a thread."""

    def __init__(self, client: coord.Client, service: str) -> None:
        self.told: list[tuple[ChangeKind, str]] = []
        self._changes = client.discover(service).changes()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for change in self._changes:
                self.told.append((change.kind, change.instance.address))
        except coord.ClosedError:
            pass  # the client of the test is closed

    def hears(self, *wanted: tuple[ChangeKind, str]) -> None:
        until(lambda: len(self.told) >= len(wanted), f"{wanted}, heard {self.told}")
        assert self.told == list(wanted)


def addresses(found: tuple[Instance, ...]) -> list[str]:
    return [each.address for each in found]


# --- registering and finding


def test_registered_found_updated_gone(client: coord.Client, other: coord.Client) -> None:
    listener = Listener(other, "orders")
    assert other.instances("orders") == ()
    with client.register("orders", "a:1", metadata={"v": "1"}, weight=2, zone="z", ttl=TTL) as made:
        (found,) = other.instances("orders")
        assert (found.service, found.id, found.address) == ("orders", made.instance.id, "a:1")
        assert (found.metadata, found.weight, found.zone) == ({"v": "1"}, 2, "z")
        listener.hears((JOINED, "a:1"))
        made.update(address="a:2", weight=0)
        listener.hears((JOINED, "a:1"), (UPDATED, "a:2"))
    assert other.instances("orders") == ()
    listener.hears((JOINED, "a:1"), (UPDATED, "a:2"), (LEFT, "a:2"))
    assert client.range("", prefix=True).items == (), "nothing is left behind"


def test_a_view_keeps_up(client: coord.Client, other: coord.Client) -> None:
    with client.register("orders", "a:1"), other.discover("orders") as view:
        assert addresses(view.instances) == ["a:1"]
        with client.register("orders", "b:1"):
            for change in view.changes():
                if change.instance.address == "b:1":
                    break
            assert addresses(view.instances) == ["a:1", "b:1"]
        until(lambda: addresses(view.instances) == ["a:1"], "the one that closed is gone")


def test_on_asyncio(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            coord.aio.connect(server.endpoint, namespace=prefix) as client,
            coord.aio.connect(server.endpoint, namespace=prefix) as other,
            other.discover("orders") as view,
        ):
            assert view.instances == ()
            changes = view.changes()
            async with client.register("orders", "a:1", ttl=TTL) as made:
                change = await anext(changes)
                assert (change.kind, change.instance.address) == (JOINED, "a:1")
                assert addresses(view.instances) == ["a:1"]
                await made.update(zone="b")
                change = await anext(changes)
                assert (change.kind, change.instance.zone) == (UPDATED, "b")
            assert (await anext(changes)).kind is LEFT
            assert await other.instances("orders") == ()
            kept = await client.register("orders", "b:1")
            assert addresses(await other.instances()) == ["b:1"]
            await kept.close()
            assert await other.instances() == ()

    asyncio.run(main())


def test_the_default_clients(server: ServerProcess, prefix: bytes) -> None:
    from coord.sync import use_as_default

    with (
        coord.connect(server.endpoint, namespace=prefix) as client,
        use_as_default(client),
        coord.register("orders", "a:1"),
        coord.discover("orders") as view,
    ):
        assert addresses(view.instances) == ["a:1"]

    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            with coord.aio.use_as_default(client):
                async with coord.aio.register("orders", "a:1"), coord.aio.discover("orders") as view:
                    assert addresses(view.instances) == ["a:1"]

    asyncio.run(main())


def test_one_service_may_be_the_beginning_of_another(client: coord.Client) -> None:
    services = ("a", "a/b", "ab", "a%2Fb", "a b")
    for service in services:
        client.register(service, f"at {service}")
    for service in services:
        assert addresses(client.instances(service)) == [f"at {service}"]
    assert [each.service for each in client.instances()] == list(services)


def test_a_strangers_key_is_reported_once_and_ignored(
    client: coord.Client, other: coord.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="coord.registry")
    client.put("coord/services/orders/stranger", "hello")
    with client.register("orders", "a:1"), other.discover("orders") as view:
        assert addresses(view.instances) == ["a:1"]
        client.put("coord/services/orders/stranger", "hello again")
        with client.register("orders", "b:1"):
            until(lambda: len(view.instances) == 2, "the next one is seen")
    assert len([record for record in caplog.records if "stranger" in record.getMessage()]) == 1


def test_many_instances_in_one_service(client: coord.Client, other: coord.Client) -> None:
    made = [client.register("orders", f"a:{number}", metadata={"padding": "x" * 2000}) for number in range(60)]
    with other.discover("orders") as view:
        assert len(view.instances) == 60
        for each in made:
            each.close()
        until(lambda: not view.instances, "all are gone")


# --- what goes wrong


def test_a_lease_revoked_underneath_is_replaced(client: coord.Client, other: coord.Client) -> None:
    listener = Listener(other, "orders")
    with client.register("orders", "a:1", ttl=TTL):
        listener.hears((JOINED, "a:1"))
        (item,) = other.range("coord/services/", prefix=True).items
        other.lease.revoke(item.lease)
        listener.hears((JOINED, "a:1"), (LEFT, "a:1"), (JOINED, "a:1"))
        (again,) = other.range("coord/services/", prefix=True).items
        assert again.lease != item.lease
    until(lambda: other.instances("orders") == (), "it is gone")


def test_it_outlives_a_restart_of_the_server(fresh_server: Callable[..., ServerProcess]) -> None:
    server = fresh_server()
    with (
        coord.connect(server.endpoint) as client,
        coord.connect(server.endpoint) as other,
        client.register("orders", "a:1", ttl=10),  # longer than a restart takes
        other.discover("orders") as view,
    ):
        server.restart()
        assert addresses(other.instances("orders", timeout=PATIENCE)) == ["a:1"]
        # The view and the keeper have found the server again as well.
        with client.register("orders", "b:1", timeout=PATIENCE):
            until(lambda: "b:1" in addresses(view.instances), "the view goes on")
        granted = client.lease.list()
        until(
            lambda: all(client.lease.time_to_live(lease).remaining >= 1 for lease in granted), "the leases are renewed"
        )
        assert addresses(other.instances("orders")) == ["a:1"]


def test_a_server_that_lost_its_data_is_told_again(fresh_server: Callable[..., ServerProcess]) -> None:
    server = fresh_server()
    with (
        coord.connect(server.endpoint) as client,
        coord.connect(server.endpoint) as other,
        client.register("orders", "a:1", ttl=10),  # longer than a restart takes
        other.discover("orders") as view,
    ):
        server.stop()
        os.rename(server.data_dir, server.home / "lost")
        server.start()

        def back() -> bool:
            try:
                return addresses(client.instances("orders")) == ["a:1"]
            except coord.HistoryLost:
                return False  # told once

        until(back, "it is registered again")
        until(lambda: addresses(view.instances) == ["a:1"], "the view shows the new truth")


def test_a_follower_that_was_compacted_away_reads_again(fresh_server: Callable[..., ServerProcess]) -> None:
    server = fresh_server()
    with coord.connect(server.endpoint) as client, coord.connect(server.endpoint) as other:
        made = client.register("orders", "a:1")
        with other.discover("orders") as view:
            changes = view.changes()
            assert next(changes).kind is JOINED
            server.pause()
            server.kill()
            # While the follower is away: everything it would need is compacted.
            server.start()
            made.close()
            client.register("orders", "b:1")
            newest = client.put("elsewhere", "x").revision
            client.compact(newest)
            until(lambda: addresses(view.instances) == ["b:1"], "the view is the present")


def test_a_blocked_event_loop_keeps_its_registration(server: ServerProcess, prefix: bytes) -> None:
    told: list[Any] = []

    async def main() -> None:
        async with (
            coord.aio.connect(server.endpoint, namespace=prefix) as client,
            client.register("orders", "a:1", ttl=TTL),
        ):
            with coord.connect(server.endpoint, namespace=prefix) as other:
                listener = Listener(other, "orders")
                listener.hears((JOINED, "a:1"))
                until = time.monotonic() + 3 * TTL
                # The loop can do nothing for three times the TTL.
                while time.monotonic() < until:
                    assert addresses(other.instances("orders")) == ["a:1"]
                told.extend(listener.told)

    asyncio.run(main())
    assert told == [(JOINED, "a:1")], "it never left"


def test_a_cancelled_registration_leaves_nothing(server: ServerProcess, prefix: bytes, other: coord.Client) -> None:
    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            for turns in range(0, 40, 3):

                async def register() -> None:
                    async with client.register("orders", "a:1"):
                        await asyncio.Event().wait()

                task = asyncio.create_task(register())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(until, lambda: other.instances("orders") == (), "nothing is left")

    asyncio.run(main())


HOLDER = """
import sys, coord
client = coord.connect(sys.argv[1], namespace=sys.argv[2])
client.register("orders", "a:1", ttl=2)
print("registered", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(server: ServerProcess, prefix: bytes) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.endpoint, prefix.decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "registered\n"
    with child:
        yield child
        child.kill()


def test_a_killed_holder_is_gone_within_its_ttl(holder: subprocess.Popen[str], other: coord.Client) -> None:
    listener = Listener(other, "orders")
    listener.hears((JOINED, "a:1"))
    holder.send_signal(signal.SIGKILL)
    listener.hears((JOINED, "a:1"), (LEFT, "a:1"))


def test_a_holder_that_ends_is_gone_at_once(holder: subprocess.Popen[str], other: coord.Client) -> None:
    """Neither closed nor told to: leases are given up at interpreter exit."""
    (item,) = other.range("coord/services/", prefix=True).items
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait(PATIENCE)
    assert other.instances("orders") == ()
    assert not other.lease.time_to_live(item.lease).exists


def test_a_closed_client_takes_its_registrations_along(
    client: coord.Client, server: ServerProcess, prefix: bytes
) -> None:
    with coord.connect(server.endpoint, namespace=prefix) as short:
        kept = short.register("orders", "a:1")
        assert len(client.instances("orders")) == 1
    assert client.instances("orders") == ()
    with pytest.raises(coord.ClosedError):
        kept.update(weight=2)


def test_a_view_ends_with_its_client(server: ServerProcess, prefix: bytes) -> None:
    with coord.connect(server.endpoint, namespace=prefix) as short:
        view = short.discover("orders")
        view.__enter__()
        changes = view.changes()
    with pytest.raises(coord.ClosedError):
        next(changes)
    with pytest.raises(coord.ClosedError):
        _ = view.instances
    view.close()


def test_an_open_view_does_not_keep_its_client_from_closing(
    server: ServerProcess, prefix: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It did not hear that it was to stop, and closing waited for it in vain."""
    with coord.connect(server.endpoint, namespace=prefix) as client:
        client.discover("orders").__enter__()
    assert [record for record in caplog.records if record.name == "coord.background"] == []


def test_nothing_answers(server: ServerProcess) -> None:
    with coord.connect("http://127.0.0.1:1", timeout=0.3) as client:
        for attempt in (
            lambda: client.register("orders", "a:1"),
            lambda: client.instances("orders"),
            lambda: client.discover("orders").__enter__(),
        ):
            with pytest.raises((coord.CallTimeout, coord.Unavailable)):
                attempt()


# --- picking one for a call


def test_picking_follows_who_is_there(client: coord.Client, other: coord.Client) -> None:
    with other.discover("orders", balance="least_loaded") as view:
        with pytest.raises(coord.NoInstances):
            view.pick()
        with client.register("orders", "a:1"):
            assert view.pick(timeout=PATIENCE).address == "a:1"
            with client.register("orders", "b:1") as second:
                until(lambda: len(view.instances) == 2, "both are there")
                with view.picked() as one, view.picked() as two:
                    assert {one.address, two.address} == {"a:1", "b:1"}
                second.update(weight=0)
                until(lambda: view.instances[1].weight == 0, "it takes no calls any more")
                assert {view.pick().address for _ in range(9)} == {"a:1"}


def test_picking_on_asyncio(server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            coord.aio.connect(server.endpoint, namespace=prefix) as client,
            client.discover("orders", balance="zone_first", zone="z") as view,
        ):
            waits = asyncio.create_task(view.pick(timeout=None))
            async with client.register("orders", "a:1"):
                assert (await waits).address == "a:1"
                async with client.register("orders", "b:1", zone="z"):
                    async for change in view.changes():
                        if change.instance.address == "b:1":
                            break
                    for _ in range(5):
                        async with view.picked() as instance:
                            assert instance.address == "b:1"

    asyncio.run(main())


def test_views_by_tags(client: coord.Client, other: coord.Client) -> None:
    with (
        client.register("orders", "a:1", metadata={"version": "2"}),
        client.register("orders", "b:1", metadata={"version": "3", "more": ""}),
        other.discover("orders", tags={"version": "3"}) as view,
    ):
        assert addresses(view.instances) == ["b:1"]
