"""What the calls of both clients return and refuse: against every server."""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coord import ops
from coord.client.aio import AsyncClient
from coord.client.blocking import BlockingClient
from coord.errors import (
    Compacted,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
    NoLeader,
    RequestRefused,
    RequestTooLarge,
    SpaceExceeded,
    Unsupported,
    UsageError,
)
from coord.model import RangeResult
from coord.ops import Order, Target, missing, mod_revision, value, version
from coord.wire import methods
from tests.faces import KINDS, Face, face
from tests.servers import ServerProcess

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=KINDS)
def f(request: pytest.FixtureRequest, endpoint: str, prefix: bytes) -> Iterator[Face]:
    """A client with a namespace of its own."""
    with face(request.param, endpoint, namespace=prefix, timeout=20) as made:
        yield made


def defragments(f: Face) -> bool:
    """Give the free space back, where the server has a method for that."""
    try:
        f.do(f.client.maintenance.defragment(f.client.endpoints[0]))
    except Unsupported:
        return False
    return True


def test_put_get_delete(f: Face) -> None:
    first = f.do(f.client.put("k", "1"))
    assert first.previous is None
    second = f.do(f.client.put(b"k", b"2", previous=True))
    assert second.revision > first.revision
    assert second.previous.text == "1"
    found = f.do(f.client.get("k"))
    assert (found.key, found.text, found.version) == (b"k", "2", 2)
    assert (found.create_revision, found.mod_revision) == (first.revision, second.revision)
    assert f.do(f.client.get("k", revision=first.revision)).text == "1"
    assert f.do(f.client.get("k", serializable=True)).text == "2"
    gone = f.do(f.client.delete("k", previous=True))
    assert gone.deleted == 1
    assert [item.text for item in gone.previous] == ["2"]
    assert f.do(f.client.get("k")) is None
    assert f.do(f.client.delete("k")).deleted == 0


def test_range(f: Face) -> None:
    for number in range(5):
        f.do(f.client.put(f"a/{number}", str(9 - number)))
    f.do(f.client.put("b", "x"))
    everything = f.do(f.client.range("", prefix=True))
    assert [item.name for item in everything.items] == ["a/0", "a/1", "a/2", "a/3", "a/4", "b"]
    assert f.do(f.client.range("a/3", from_key=True)).count == 3
    assert f.do(f.client.range("a/1", range_end="a/3")).count == 2
    some = f.do(f.client.range("a/", prefix=True, limit=2, order=Order.DESCEND, target=Target.KEY))
    assert [item.name for item in some.items] == ["a/4", "a/3"]
    assert some.more
    assert some.count == 5
    by_value = f.do(f.client.range("a/", prefix=True, order=Order.ASCEND, target=Target.VALUE))
    assert by_value.first.name == "a/4"
    assert f.do(f.client.range("a/", prefix=True, keys_only=True)).first.value == b""
    counted = f.do(f.client.range("a/", prefix=True, count_only=True))
    assert (counted.count, counted.items) == (5, ())
    assert f.do(f.client.read(ops.Get(b"a/", b"a0", min_mod_revision=some.items[0].mod_revision))).items
    assert f.do(f.client.delete("a/", prefix=True)).deleted == 5


def test_namespace_holds(f: Face, endpoint: str, prefix: bytes) -> None:
    """Nothing outside can be read or deleted, however open the range."""
    with face(f.kind, endpoint) as outside:
        outside.do(outside.client.put(prefix[:-1] + b"0", "neighbour"))
        f.do(f.client.put("k", "mine"))
        assert outside.do(outside.client.get(prefix + b"k")).text == "mine"
        assert [item.key for item in f.do(f.client.range("", prefix=True)).items] == [b"k"]
        assert [item.key for item in f.do(f.client.range("\x00", from_key=True)).items] == [b"k"]
        assert f.do(f.client.delete("", from_key=True)).deleted == 1
        assert outside.do(outside.client.get(prefix[:-1] + b"0")).text == "neighbour"
        outside.do(outside.client.delete(prefix[:-1] + b"0"))


def test_scan(f: Face) -> None:
    for number in range(25):
        f.do(f.client.put(f"s/{number:02}", "x"))
    f.do(f.client.put("t", "x"))
    for page in (1, 7, 25, 26, 1000):
        found = [item.name for item in f.do(f.client.scan("s/", page=page))]
        assert found == [f"s/{number:02}" for number in range(25)]
    assert list(f.do(f.client.scan("none/"))) == []


def test_scan_shows_one_revision(endpoint: str, prefix: bytes) -> None:
    with BlockingClient(endpoint, namespace=prefix) as client:
        for number in range(10):
            client.put(f"s/{number}", "old")
        seen: list[tuple[str, str]] = []
        for item in client.scan("s/", page=3):
            client.put(f"s/{9 - len(seen)}", "new")
            client.put(f"s/{len(seen)}b", "new")
            seen.append((item.name, item.text))
        assert seen == [(f"s/{number}", "old") for number in range(10)]


def test_txn(f: Face) -> None:
    made = f.do(f.client.txn().when(missing("k")).put("k", "1").get("k").commit())
    assert made
    assert made.range(1).first.text == "1"
    lost = f.do(f.client.txn().when(missing("k")).put("k", "2").otherwise(ops.get("k")).commit())
    assert not lost
    assert lost.range(0).first.text == "1"
    revision = made.header.revision
    both = f.client.txn().when(value("k") == "1", mod_revision("k") == revision, version("k") < 2)
    moved = f.do(both.delete("k", previous=True).put("l", "3").commit())
    assert [item.text for item in moved.results[0].previous] == ["1"]
    assert moved.results[1].previous is None
    inner = ops.Txn((missing("x"),), (ops.put("x", "y"), ops.get("x")), ())
    nested = f.do(f.client.txn().then(inner, ops.get("x")).commit())
    assert nested.results[0].results[1].first.key == b"x"
    assert isinstance(nested.results[1], RangeResult)


def test_txn_with_nothing_to_do(f: Face) -> None:
    assert f.do(f.client.txn().commit())
    assert not f.do(f.client.txn().when(ops.exists("nothing")).commit())


def test_txn_takes_only_its_words(f: Face) -> None:
    with pytest.raises(UsageError):
        f.client.txn().when("k" == "x")
    with pytest.raises(UsageError):
        f.client.txn().then("k")


def test_lease(f: Face) -> None:
    lease = f.do(f.client.lease.grant(timedelta(minutes=10)))
    assert lease.ttl == 600
    f.do(f.client.put("k", "x", lease=lease.id))
    assert f.do(f.client.get("k")).lease == lease.id
    info = f.do(f.client.lease.time_to_live(lease.id, keys=True))
    assert info.exists
    assert info.granted == 600
    assert info.keys == (b"k",)
    assert f.do(f.client.lease.keep_alive_once(lease.id)).ttl == 600
    assert lease.id in f.do(f.client.lease.list())
    with pytest.raises(LeaseExists):
        f.do(f.client.lease.grant(600, id=lease.id))
    f.do(f.client.put("k", "y", keep_lease=True))
    assert f.do(f.client.get("k")).lease == lease.id
    f.do(f.client.lease.revoke(lease.id))
    assert f.do(f.client.get("k")) is None
    assert not f.do(f.client.lease.time_to_live(lease.id)).exists
    for refused in (f.client.lease.revoke, f.client.lease.keep_alive_once):
        with pytest.raises(LeaseNotFound):
            f.do(refused(lease.id))
    with pytest.raises(LeaseNotFound):
        f.do(f.client.put("k", "x", lease=lease.id))


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e300, True, None, "10"])
def test_lease_needs_a_time(f: Face, ttl: object) -> None:
    """A session with such a time to live ended the keeper, and with it every lease of the client."""
    for ask in (f.client.lease.grant, f.client.session):
        with pytest.raises(UsageError):
            f.do(ask(ttl))


def test_large_values(f: Face) -> None:
    """Answers larger than gRPC's default of 4 MiB, and requests larger than the server takes."""
    for number in range(6):
        f.do(f.client.put(f"l/{number}", b"x" * 1_000_000))
    assert len(f.do(f.client.range("l/", prefix=True)).items) == 6
    for size in (1_800_000, 3_000_000):
        with pytest.raises(RequestTooLarge):
            f.do(f.client.put("large", b"x" * size))
    f.do(f.client.delete("l/", prefix=True))


def test_future_revision(f: Face) -> None:
    with pytest.raises(FutureRevision) as caught:
        f.do(f.client.get("k", revision=2**40))
    assert caught.value.code == 11
    assert caught.value.attempts == 1
    with pytest.raises(FutureRevision):
        f.do(f.client.compact(2**40))


def test_refusals(f: Face) -> None:
    with pytest.raises(RequestRefused, match="duplicate key"):
        f.do(f.client.txn().put("k").put("k").commit())
    with pytest.raises(RequestRefused, match="key not found"):
        f.do(f.client.put("none", keep_lease=True))
    for wrong in ({"limit": -1}, {"prefix": True, "from_key": True}):
        with pytest.raises(UsageError):
            f.do(f.client.range("k", **wrong))
    with pytest.raises(UsageError):
        f.do(f.client.put("", "x"))
    for wrong_time in (-1, "5", float("nan")):
        with pytest.raises(UsageError):
            f.do(f.client.get("k", timeout=wrong_time))


def test_raw_call(f: Face, prefix: bytes) -> None:
    request = methods.KV_PUT.request(key=prefix + b"raw", value=b"v")
    assert f.do(f.client.call("/etcdserverpb.KV/Put", request)).header.revision > 0
    assert f.do(f.client.call(methods.KV_RANGE, methods.KV_RANGE.request(key=prefix + b"raw"), write=False)).count == 1
    for method, message in (("/no/Such", request), (methods.KV_RANGE, request), (methods.WATCH, request)):
        with pytest.raises(UsageError):
            f.do(f.client.call(method, message))


def test_status_and_members(f: Face, server: ServerProcess) -> None:
    status = f.do(f.client.status())
    assert status.endpoint == server.target
    assert status.version.startswith("3.")
    assert status.leader == status.header.member_id != 0
    assert f.do(f.client.status(server.endpoint)).raft_term == status.raft_term
    (member,) = f.do(f.client.members())
    assert member.id == status.leader
    assert member.client_urls == (server.endpoint,)
    assert f.do(f.client.members(linearizable=False)) == (member,)
    assert str(f.do(f.client.leader())) == server.target


def test_leader_of_a_cluster_without_one(f: Face) -> None:
    status = f.do(f.client.status())
    with pytest.raises(NoLeader):
        f.client._leader_among(type(status)(status.header, leader=12345), ())


@pytest.mark.parametrize("kind", KINDS)
def test_compaction(fresh_server: Callable[..., ServerProcess], kind: str) -> None:
    with face(kind, fresh_server().endpoint) as f:
        first = f.do(f.client.put("k", "1")).revision
        second = f.do(f.client.put("k", "2")).revision
        f.do(f.client.compact(second, physical=True))
        with pytest.raises(Compacted):
            f.do(f.client.get("k", revision=first))
        with pytest.raises(Compacted):
            f.do(f.client.compact(second))
        assert f.do(f.client.get("k", revision=second)).text == "2"


@pytest.mark.parametrize("kind", KINDS)
def test_hash(fresh_server: Callable[..., ServerProcess], kind: str) -> None:
    with face(kind, fresh_server().endpoint) as f:
        revision = f.do(f.client.put("k", "1")).revision
        try:
            first = f.do(f.client.maintenance.hash_kv())
        except Unsupported:
            pytest.skip("this server has no hashes")
        f.do(f.client.put("k", "2"))
        assert f.do(f.client.maintenance.hash_kv(revision=revision)).hash == first.hash
        assert f.do(f.client.maintenance.hash_kv()).hash != first.hash


@pytest.mark.parametrize("kind", KINDS)
def test_no_space(fresh_server: Callable[..., ServerProcess], kind: str) -> None:
    server = fresh_server("--quota-backend-bytes=200000")
    with face(kind, server.endpoint) as f:
        refused = None
        for number in range(2000):
            try:
                f.do(f.client.put(f"k{number}", b"x" * 5000))
            except SpaceExceeded as error:
                refused = error
                break
        assert refused is not None
        assert refused.outcome_known
        assert f.do(f.client.get("k0")) is not None
        (alarm,) = f.do(f.client.maintenance.alarms())
        assert alarm.kind == "NOSPACE"
        f.do(f.client.delete("k", prefix=True))
        f.do(f.client.compact(f.do(f.client.range("k", prefix=True)).header.revision, physical=True))
        if defragments(f):
            assert f.do(f.client.maintenance.disarm()) == (alarm,)
            assert f.do(f.client.maintenance.alarms()) == ()
            f.do(f.client.put("k", "fits again"))


def test_snapshot(f: Face, server: ServerProcess, tmp_path: Path) -> None:
    if server.kind == "bundled":
        pytest.skip("its snapshots are of its own format")
    path = tmp_path / "snapshot"
    size = f.do(f.client.maintenance.snapshot(path))
    assert path.stat().st_size == size > 10_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["snapshot"]


def test_clients_do_not_travel(f: Face) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(f.client)


def test_repr(f: Face, server: ServerProcess, prefix: bytes) -> None:
    f.do(f.client.get("k"))
    assert server.target in repr(f.client)
    assert prefix.decode() in repr(f.client)


def test_forgotten_clients_are_told_of(endpoint: str) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        BlockingClient(endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = BlockingClient(endpoint)
        client.close()
        del client

        async def program() -> None:
            async with AsyncClient(endpoint) as client:
                await client.get("k")

        asyncio.run(program())
