"""The API handlers over a member in memory: what reaches the log, what is answered without it, and how streams end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from coord import statuses
from coord.server.api.cluster import ClusterApi
from coord.server.api.kv import KvApi
from coord.server.api.lease import LeaseApi
from coord.server.api.maintenance import MaintenanceApi
from coord.server.api.watch import WatchApi
from coord.server.invariant import InvariantBroken
from coord.server.member.boot import Member, open_member
from coord.server.member.pending import Pending
from coord.server.settings.config import ServerConfig
from coord.server.transport.answers import cancel
from coord.server.transport.context import Context
from coord.server.transport.table import Table
from coord.statuses import Refused, Status
from coord.wire import methods
from coord.wire import rpc_pb2 as pb
from tests.unit.server.test_table import FakeCall


class Bench:
    """A member and a table over it, called as an adapter would."""

    def __init__(self, member: Member, fatal: list[BaseException]) -> None:
        self.member = member
        self.fatal = fatal
        self.replica = member.replica
        self.state = member.state
        self.table = Table(
            [
                *KvApi(member.replica, max_txn_ops=4).rows(),
                *LeaseApi(member.replica).rows(),
                *WatchApi(member.replica, progress_interval_s=600).rows(),
                *ClusterApi(member.replica).rows(),
                *MaintenanceApi(member.replica, member.backend, quota_bytes=7).rows(),
            ]
        )

    async def call(self, method: methods.Method, request: Any) -> Any:
        answer = self.table.unary(self.table.rows[method.path])(FakeCall(), request.SerializeToString())
        if isinstance(answer, Pending):
            answer = await answer
        return method.response.FromString(answer) if isinstance(answer, bytes) else answer

    async def refused(self, method: methods.Method, request: Any) -> Status:
        with pytest.raises(Refused) as caught:
            await self.call(method, request)
        return caught.value.status

    async def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> pb.PutResponse:
        answer = await self.call(methods.KV_PUT, pb.PutRequest(key=key, value=value, lease=lease))
        assert isinstance(answer, pb.PutResponse)
        return answer


class Line:
    """A stream that a test feeds and reads; `taking` off means a peer whose window is full."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.taking = asyncio.Event()
        self.taking.set()

    async def receive(self) -> Any:
        request = await self.requests.get()
        if isinstance(request, Exception):
            raise request
        return request

    async def send(self, message: Any) -> None:
        await self.taking.wait()
        await self.sent.put(message)

    async def next(self, kind: Any = pb.WatchResponse) -> Any:
        message = await self.sent.get()
        return kind.FromString(message) if isinstance(message, bytes) else message


def run(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened() as bench:
            await asyncio.wait_for(scenario(bench), 20)

    asyncio.run(main())


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    fatal: list[BaseException] = []
    member = open_member(ServerConfig(), asyncio.get_running_loop(), memory=True, on_fatal=fatal.append)
    await member.start()
    try:
        yield Bench(member, fatal)
    finally:
        await member.stop()
    assert fatal == []


@asynccontextmanager
async def streaming(bench: Bench, method: methods.Method) -> AsyncIterator[tuple[Line, asyncio.Task[None]]]:
    line = Line()
    row = bench.table.rows[method.path]
    task = asyncio.create_task(bench.table.stream(row, Context(FakeCall()), line))
    try:
        yield line, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- reads and writes


def test_a_read_needs_no_log_entry_and_a_write_does() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put(b"k", b"v")
        before = bench.replica.applied
        assert (await bench.call(methods.KV_RANGE, pb.RangeRequest(key=b"k"))).kvs[0].value == b"v"
        assert bench.replica.applied == before
        await bench.put(b"k", b"w")
        assert bench.replica.applied == before + 1

    run(scenario)


def test_a_transaction_of_reads_needs_none_either() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put(b"k", b"v")
        before = bench.replica.applied
        request = pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"k"))])
        answer = await bench.call(methods.KV_TXN, request)
        assert answer.responses[0].response_range.kvs[0].value == b"v"
        assert bench.replica.applied == before

    run(scenario)


def test_a_put_in_the_branch_not_taken_makes_it_a_write() -> None:
    async def scenario(bench: Bench) -> None:
        before = bench.replica.applied
        request = pb.TxnRequest(failure=[pb.RequestOp(request_put=pb.PutRequest(key=b"k"))])
        assert (await bench.call(methods.KV_TXN, request)).succeeded
        assert bench.replica.applied == before + 1

    run(scenario)


def test_the_limit_of_operations_is_the_servers() -> None:
    async def scenario(bench: Bench) -> None:
        ops = [pb.RequestOp(request_range=pb.RangeRequest(key=b"k"))] * 5
        assert await bench.refused(methods.KV_TXN, pb.TxnRequest(success=ops)) == statuses.TOO_MANY_OPS

    run(scenario)


def test_a_full_database_is_said_before_a_wrong_request_is() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.refused(methods.KV_PUT, pb.PutRequest()) == statuses.KEY_NOT_PROVIDED
        bench.replica.over_quota = lambda body: "put" in body or "txn" in body
        assert await bench.refused(methods.KV_PUT, pb.PutRequest()) == statuses.NO_SPACE
        assert await bench.refused(methods.KV_TXN, pb.TxnRequest(success=[pb.RequestOp()])) == statuses.NO_SPACE
        assert await bench.refused(methods.KV_DELETE_RANGE, pb.DeleteRangeRequest()) == statuses.KEY_NOT_PROVIDED

    run(scenario)


def test_a_physical_compaction_is_answered_when_nothing_is_left() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(50):
            await bench.put(b"k", b"%d" % number)
        await bench.call(methods.KV_COMPACT, pb.CompactionRequest(revision=40, physical=True))
        assert bench.state.scrubbed_revision >= 40

    run(scenario)


def test_a_large_range_is_read_in_slices_with_others_between() -> None:
    async def scenario(bench: Bench) -> None:
        for start in range(0, 30_000, 3):
            txn = pb.TxnRequest()
            for number in range(start, start + 3):
                put = txn.success.add().request_put
                put.key, put.value = b"k%06d" % number, b"v"
            bench.replica.propose(txn=txn)
        await bench.put(b"last")
        row = bench.table.rows[methods.KV_RANGE.path]
        request = pb.RangeRequest(key=b"k", range_end=b"l")
        answer = bench.table.unary(row)(FakeCall(), request.SerializeToString())
        assert isinstance(answer, Pending)
        assert not answer.done, "one step of the loop must not read everything"
        written = await bench.put(b"k999999", b"between")
        assert not answer.done
        response = pb.RangeResponse.FromString(await answer)
        assert (response.count, len(response.kvs)) == (30_000, 30_000)
        assert response.header.revision == written.header.revision - 1, "the read does not see what came after it"

    run(scenario)


def test_a_range_of_few_large_values_is_read_in_slices_as_well() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(40):
            await bench.put(b"k%06d" % number, b"v" * 500_000)
        fetched: list[int] = []
        fetch_many = bench.state.store.fetch_many

        def counted(stored: list[bytes]) -> list[bytes]:
            fetched.append(len(stored))
            return fetch_many(stored)

        bench.state.store.fetch_many = counted  # type: ignore[method-assign]  # to count
        row = bench.table.rows[methods.KV_RANGE.path]
        for order in (pb.RangeRequest.KEY, pb.RangeRequest.MOD):
            request = pb.RangeRequest(key=b"k", range_end=b"l", sort_target=order)
            answer = bench.table.unary(row)(FakeCall(), request.SerializeToString())
            assert isinstance(answer, Pending)
            assert len(pb.RangeResponse.FromString(await answer).kvs) == 40
        assert fetched == [4] * 20
        few = pb.RangeRequest(key=b"k", range_end=b"l", limit=4)
        assert isinstance(bench.table.unary(row)(FakeCall(), few.SerializeToString()), bytes)

    run(scenario)


def test_a_large_range_shows_nothing_of_an_entry_that_failed_halfway() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(3_000):
            bench.replica.propose(put=pb.PutRequest(key=b"k%06d" % number))
        await bench.put(b"last")
        row = bench.table.rows[methods.KV_RANGE.path]
        request = pb.RangeRequest(key=b"k", range_end=b"l", serializable=True)
        answer = bench.table.unary(row)(FakeCall(), request.SerializeToString())
        bench.state.store.put(b"k", b"half", 0)
        bench.replica.fatal(InvariantBroken("in the middle"))
        with pytest.raises(Refused) as refused:
            await answer
        assert refused.value.status == statuses.STOPPED
        bench.fatal.clear()

    run(scenario)


def test_a_large_range_is_given_up_when_its_caller_leaves() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(3_000):
            bench.replica.propose(put=pb.PutRequest(key=b"k%06d" % number))
        await bench.put(b"last")
        row = bench.table.rows[methods.KV_RANGE.path]
        request = pb.RangeRequest(key=b"k", range_end=b"l", sort_target=pb.RangeRequest.VALUE)
        answer = bench.table.unary(row)(FakeCall(), request.SerializeToString())
        await asyncio.sleep(0)
        assert bench.state.store.is_pinned_below(10**9), "it has begun"
        cancel(answer)
        assert answer.done
        assert not bench.state.store.is_pinned_below(10**9), "a reader that left holds no compaction up"

    run(scenario)


# --- leases


def test_the_server_chooses_a_positive_lease_id() -> None:
    async def scenario(bench: Bench) -> None:
        ids = {(await bench.call(methods.LEASE_GRANT, pb.LeaseGrantRequest(TTL=60))).ID for _ in range(20)}
        assert len(ids) == 20
        assert all(0 < lease < 2**63 for lease in ids)

    run(scenario)


def test_a_chosen_id_is_taken_or_refused() -> None:
    async def scenario(bench: Bench) -> None:
        request = pb.LeaseGrantRequest(TTL=60, ID=-7)
        assert (await bench.call(methods.LEASE_GRANT, request)).ID == -7
        assert await bench.refused(methods.LEASE_GRANT, request) == statuses.LEASE_EXISTS

    run(scenario)


def test_keep_alive_answers_each_request_and_ends_with_the_last() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.call(methods.LEASE_GRANT, pb.LeaseGrantRequest(TTL=60, ID=5))
        async with streaming(bench, methods.LEASE_KEEP_ALIVE) as (line, task):
            for lease, ttl in ((5, 60), (6, 0), (0, 0)):
                line.requests.put_nowait(pb.LeaseKeepAliveRequest(ID=lease))
                answer = await line.next(pb.LeaseKeepAliveResponse)
                assert (lease, ttl) == (answer.ID, answer.TTL)
            line.requests.put_nowait(None)
            await task

    run(scenario)


def test_a_lease_that_ran_out_is_called_gone_only_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.call(methods.LEASE_GRANT, pb.LeaseGrantRequest(TTL=60, ID=5))
        await bench.put(b"k", lease=5)
        monkeypatch.setattr(bench.state.lessor, "renew", lambda lease_id, now: 0)
        async with streaming(bench, methods.LEASE_KEEP_ALIVE) as (line, _):
            line.requests.put_nowait(pb.LeaseKeepAliveRequest(ID=5))
            for _ in range(10):
                await asyncio.sleep(0)
            assert line.sent.empty(), "its keys are still there"
            await bench.call(methods.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=5))
            assert (await line.next(pb.LeaseKeepAliveResponse)).TTL == 0
        assert (await bench.call(methods.KV_RANGE, pb.RangeRequest(key=b"k"))).count == 0

    run(scenario)


def test_a_member_that_does_not_decide_about_leases_refuses_to_renew_them() -> None:
    async def scenario(bench: Bench) -> None:
        bench.state.lessor.demote()
        async with streaming(bench, methods.LEASE_KEEP_ALIVE) as (line, task):
            line.requests.put_nowait(pb.LeaseKeepAliveRequest(ID=5))
            with pytest.raises(Refused) as caught:
                await task
        assert caught.value.status == statuses.NO_LEADER

    run(scenario)


# --- watch


def watch_of(key: bytes, **fields: Any) -> pb.WatchRequest:
    return pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key, **fields))


def test_a_watch_tells_of_its_creation_first_and_then_of_changes() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (line, _):
            line.requests.put_nowait(watch_of(b"k"))
            assert (await line.next()).created
            await bench.put(b"k", b"v")
            assert (await line.next()).events[0].kv.value == b"v"

    run(scenario)


def test_a_watch_goes_on_when_the_client_has_no_more_requests() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (line, task):
            line.requests.put_nowait(watch_of(b"k"))
            line.requests.put_nowait(None)
            assert (await line.next()).created
            await bench.put(b"k", b"v")
            assert (await line.next()).events[0].kv.value == b"v"
            assert not task.done()

    run(scenario)


def test_a_request_that_cannot_be_read_ends_the_watch() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (line, task):
            line.requests.put_nowait(Refused(Status(statuses.INTERNAL, "no")))
            with pytest.raises(Refused):
                await task

    run(scenario)


def test_a_watch_that_ends_leaves_nothing_in_the_hub() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (line, _):
            line.requests.put_nowait(watch_of(b"k", progress_notify=True))
            assert (await line.next()).created
            assert bench.state.watch_hub.statistics()["watchers"] == 1
        assert bench.state.watch_hub.statistics() == {
            "streams": 0,
            "watchers": 0,
            "slow_watchers": 0,
            "pending_responses": 0,
        }

    run(scenario)


def test_a_peer_that_takes_nothing_costs_a_bounded_queue_and_gets_everything_later() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (slow, _), streaming(bench, methods.WATCH) as (fast, _):
            for line in (slow, fast):
                line.requests.put_nowait(watch_of(b"k"))
                assert (await line.next()).created
            slow.taking.clear()
            for number in range(1_000):
                await bench.put(b"k", b"%d" % number)
                assert (await fast.next()).events[0].kv.value == b"%d" % number
            assert bench.state.watch_hub.statistics()["pending_responses"] < 200
            slow.taking.set()
            seen: list[bytes] = []
            while len(seen) < 1_000:
                seen.extend(event.kv.value for event in (await slow.next()).events)
            assert seen == [b"%d" % number for number in range(1_000)]

    run(scenario)


def test_requests_wait_while_the_peer_takes_no_answers() -> None:
    async def scenario(bench: Bench) -> None:
        async with streaming(bench, methods.WATCH) as (line, _):
            line.taking.clear()
            for _ in range(1_000):
                line.requests.put_nowait(watch_of(b"k"))
            for _ in range(3_000):
                await asyncio.sleep(0)
            assert len(next(iter(bench.state.watch_hub.streams))) <= 130
            line.taking.set()
            ids = [(await line.next()).watch_id for _ in range(1_000)]
            assert ids == list(range(1_000))

    run(scenario)


# --- the rest


def test_status_shows_alarms_in_etcds_words() -> None:
    async def scenario(bench: Bench) -> None:
        activate = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=3, alarm=pb.NOSPACE)
        await bench.call(methods.ALARM, activate)
        status = await bench.call(methods.STATUS, pb.StatusRequest())
        assert list(status.errors) == ["memberID:3 alarm:NOSPACE "]
        assert status.leader == status.header.member_id == bench.member.identity.member_id
        assert status.dbSizeQuota == 7
        assert status.HasField("downgradeInfo")

    run(scenario)


def test_a_transaction_that_reads_much_leaves_the_loop_to_others() -> None:
    async def scenario(bench: Bench) -> None:
        everything = pb.RangeRequest(key=b"\0", range_end=b"\0")
        for start in range(0, 1200, 4):
            puts = [pb.RequestOp(request_put=pb.PutRequest(key=b"%04d" % (start + n))) for n in range(4)]
            await bench.call(methods.KV_TXN, pb.TxnRequest(success=puts))
        request = pb.TxnRequest(success=[pb.RequestOp(request_range=everything)] * 2)
        reading = asyncio.ensure_future(bench.call(methods.KV_TXN, request))
        await asyncio.sleep(0)
        assert not reading.done()
        answer = await reading
        assert [one.response_range.count for one in answer.responses] == [1200, 1200]
        assert answer.header.revision == 301

    run(scenario)


def test_members_are_listed_without_a_revision() -> None:
    async def scenario(bench: Bench) -> None:
        answer = await bench.call(methods.MEMBER_LIST, pb.MemberListRequest(linearizable=True))
        assert answer.header.revision == 0
        assert [member.name for member in answer.members] == ["default"]
        assert list(answer.members[0].peerURLs) == ["http://localhost:2380"]

    run(scenario)
