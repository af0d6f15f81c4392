"""What runs beside requests: pauses, expiry, quota, flushes, compaction in slices, and the small tools under them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from coord.server.consensus import SnapshotMark
from coord.server.machine.apply import StateMachine
from coord.server.machine.lessor import Lessor
from coord.server.member.expiry import IN_FLIGHT, LeaseExpiry
from coord.server.member.figures import Figures
from coord.server.member.flusher import PRESSURE_BYTES, Flusher, FlushingBackend
from coord.server.member.journal import MemoryJournal
from coord.server.member.pauses import TICK, PauseWatch
from coord.server.member.pending import Pending
from coord.server.member.quota import NoSpaceAlarm, Quota, cost, dearest
from coord.server.member.scrubber import Scrubber
from coord.server.member.worker import Worker
from coord.server.storage.errors import BackendFailed, BackendFull
from coord.server.storage.memory import MemoryBackend
from coord.statuses import LEASE_NOT_FOUND, STOPPED, TOO_MANY_REQUESTS, Refused
from coord.wire.rpc_pb2 import (
    DeleteRangeRequest,
    LeaseGrantRequest,
    PutRequest,
    RequestOp,
    TxnRequest,
)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


class Log:
    """Takes proposals; the test answers them."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.pendings: list[Pending[Any]] = []
        self.refuse: Refused | None = None

    def propose(self, **body: Any) -> Pending[Any]:
        if self.refuse is not None:
            raise self.refuse
        self.bodies.append(body)
        self.pendings.append(Pending())
        return self.pendings[-1]


class TestPauses:
    def setup_method(self) -> None:
        self.time = 100.0
        self.figures = Figures()
        self.lengthened: list[float] = []
        self.watch = PauseWatch(lambda: self.time, self.figures)
        self.watch.lengthen = self.lengthened.append

    def test_a_loop_in_time_lengthens_nothing(self) -> None:
        self.watch.start()
        for _ in range(50):
            self.time += TICK + 0.9
            self.watch.tick()
        assert self.lengthened == []

    def test_a_pause_lengthens_by_its_length_before_the_time_is_told(self) -> None:
        self.watch.start()
        self.time += 5.0
        told_when_lengthened: list[float] = []
        self.watch.lengthen = told_when_lengthened.append
        assert self.watch.now() == 105.0
        assert told_when_lengthened == [pytest.approx(5.0 - TICK)]
        assert self.watch.now() == 105.0
        assert len(told_when_lengthened) == 1

    def test_what_passed_before_the_start_is_no_pause(self) -> None:
        self.time += 50
        self.watch.now()
        self.watch.tick()
        self.watch.start()
        self.watch.tick()
        assert self.lengthened == []
        assert self.figures.pauses == 0

    def test_a_lease_survives_a_pause_longer_than_its_ttl(self) -> None:
        lessor = Lessor(MemoryBackend())
        self.watch.lengthen = lessor.lengthen_all
        self.watch.start()
        lessor.promote(self.watch.now(), 0)
        lessor.grant(1, 2, self.watch.now())
        self.time += 60
        assert lessor.due(self.watch.now()) == []
        assert lessor.renew(1, self.watch.now()) == 2


class TestExpiry:
    def setup_method(self) -> None:
        self.time = 0.0
        self.lessor = Lessor(MemoryBackend())
        self.lessor.promote(0.0, 0.0)
        self.log = Log()
        self.figures = Figures()
        self.expiry = LeaseExpiry(self.lessor, self.log.propose, lambda: self.time, self.figures)

    def revoked(self) -> list[int]:
        return [body["lease_revoke"].ID for body in self.log.bodies]

    def test_only_what_ran_out_is_revoked(self) -> None:
        self.lessor.grant(1, 10, 0.0)
        self.lessor.grant(2, 20, 0.0)
        self.time = 15.0
        self.expiry.scan()
        assert self.revoked() == [1]

    def test_at_most_sixteen_are_on_their_way(self) -> None:
        for lease in range(1, 41):
            self.lessor.grant(lease, 10, 0.0)
        self.time = 15.0
        self.expiry.scan()
        assert len(self.log.bodies) == IN_FLIGHT
        self.log.pendings[0].resolve(None)
        assert len(self.log.bodies) == IN_FLIGHT + 1
        for pending in self.log.pendings:
            pending.resolve(None)
        assert len(set(self.revoked())) == len(self.log.bodies)
        assert self.figures.leases_expired == 40

    def test_a_failed_revocation_is_tried_again_three_seconds_later(self) -> None:
        self.lessor.grant(1, 10, 0.0)
        self.time = 15.0
        self.expiry.scan()
        self.log.pendings[0].fail(Refused(TOO_MANY_REQUESTS))
        self.time = 16.0
        self.expiry.scan()
        assert self.revoked() == [1]
        self.time = 18.5
        self.expiry.scan()
        assert self.revoked() == [1, 1]

    def test_a_lease_that_somebody_else_revoked_is_no_failure(self) -> None:
        self.lessor.grant(1, 10, 0.0)
        self.time = 15.0
        self.expiry.scan()
        self.log.pendings[0].fail(Refused(LEASE_NOT_FOUND))
        assert self.figures.leases_expired == 0

    def test_a_proposal_that_is_pushed_back_waits_for_its_retry(self) -> None:
        self.lessor.grant(1, 10, 0.0)
        self.time = 15.0
        self.log.refuse = Refused(TOO_MANY_REQUESTS)
        self.expiry.scan()
        self.log.refuse = None
        self.time = 18.5
        self.expiry.scan()
        assert self.revoked() == [1]

    def test_a_member_that_does_not_decide_revokes_nothing(self) -> None:
        self.lessor.grant(1, 10, 0.0)
        self.lessor.demote()
        self.time = 15.0
        self.expiry.scan()
        assert self.revoked() == []


def put_op(size: int) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=b"k", value=b"v" * size))


def test_costs_are_etcds() -> None:
    assert cost({"put": PutRequest(key=b"abc", value=b"12345")}) == 264
    assert cost({"lease_grant": LeaseGrantRequest()}) == 64
    assert cost({"delete_range": DeleteRangeRequest()}) == 0
    nested = RequestOp(request_txn=TxnRequest(success=[put_op(10)]))
    assert cost({"txn": TxnRequest(success=[put_op(10), nested], failure=[put_op(100)])}) == 534


def test_no_request_costs_more_than_the_dearest_of_its_size() -> None:
    """With 256 bytes for each operation of one branch, nested transactions went 30 MB over the quota unseen."""
    puts = [RequestOp(request_put=PutRequest(key=b"k")) for _ in range(60)]
    inner = [RequestOp(request_txn=TxnRequest(success=puts)) for _ in range(60)]
    txn = TxnRequest(success=inner)
    assert cost({"txn": txn}) > txn.ByteSize() + 256 * 128
    assert cost({"txn": txn}) <= dearest(txn.ByteSize())
    assert cost({"put": PutRequest(key=b"k")}) <= dearest(1500)


def test_a_write_over_the_quota_is_refused_and_alarmed() -> None:
    alarms: list[int] = []
    size = [1000]
    quota = Quota(2000, 900, lambda: size[0], lambda: alarms.append(1))
    write = {"put": PutRequest(key=b"k", value=b"v" * 800)}
    assert not quota.refuses(write)
    size[0] = 1200
    assert quota.refuses(write)
    assert not quota.refuses({"put": PutRequest(key=b"k", value=b"v" * 500)})
    assert not quota.refuses({"delete_range": DeleteRangeRequest(key=b"k")})
    assert alarms == [1]


def test_the_alarm_is_proposed_once_at_a_time() -> None:
    log = Log()
    alarm = NoSpaceAlarm(7, log.propose)
    alarm.raise_once()
    alarm.raise_once()
    assert [body["alarm"].memberID for body in log.bodies] == [7]
    log.pendings[0].resolve(None)
    alarm.raise_once()
    assert len(log.bodies) == 2


def test_an_alarm_that_is_pushed_back_is_proposed_at_the_next_refusal() -> None:
    log = Log()
    alarm = NoSpaceAlarm(7, log.propose)
    log.refuse = Refused(TOO_MANY_REQUESTS)
    alarm.raise_once()
    log.refuse = None
    alarm.raise_once()
    assert len(log.bodies) == 1


def test_a_compaction_that_waits_for_a_read_leaves_the_loop_to_it() -> None:
    async def check() -> None:
        machine = StateMachine(MemoryBackend(), cluster_id=1, member_id=1, term=lambda: 1, now=lambda: 0.0)
        for _ in range(3):
            machine.store.put(b"k", b"v", 0)
            machine.store.commit()
        machine.store.mark_compacted(4)
        seals: list[int] = []
        fatal: list[BaseException] = []
        three = asyncio.Event()

        def seal() -> None:
            seals.append(1)
            if len(seals) == 3:
                three.set()

        scrubber = Scrubber(asyncio.get_running_loop(), machine, seal, fatal.append)
        looks = 0
        pinned = machine.store.is_pinned_below

        def look(revision: int) -> bool:
            nonlocal looks
            looks += 1
            return pinned(revision)

        machine.store.is_pinned_below = look  # type: ignore[method-assign]  # to count
        with machine.store.pinned(2):
            scrubber.check()
            await three.wait()
            assert looks <= len(seals) + 1
        await scrubber.scrubbed(4)
        assert fatal == []
        assert not machine.compaction_pending

    run(check)


def test_who_waits_for_a_compaction_is_told_of_the_stop() -> None:
    """He once waited until the transport cut him off, with CANCELLED, which tells nothing."""

    async def check() -> None:
        machine = StateMachine(MemoryBackend(), cluster_id=1, member_id=1, term=lambda: 1, now=lambda: 0.0)
        machine.store.put(b"k", b"v", 0)
        machine.store.commit()
        machine.store.mark_compacted(2)
        fatal: list[BaseException] = []
        scrubber = Scrubber(asyncio.get_running_loop(), machine, lambda: None, fatal.append)
        before = scrubber.scrubbed(2)
        scrubber.stop()
        after = scrubber.scrubbed(2)
        scrubber.check()
        for pending in (before, after):
            with pytest.raises(Refused) as refused:
                await pending
            assert refused.value.status == STOPPED
        assert machine.compaction_pending
        assert fatal == []

    run(check)


class FakeJob:
    """A flush that ends as the test says."""

    def __init__(self, applied: tuple[int, int], error: Exception | None) -> None:
        self.applied = applied
        self.error = error

    def run(self) -> None:
        if self.error is not None:
            raise self.error


class FakeBackend:
    def __init__(self) -> None:
        self.applied: tuple[int, int] = (0, 0)
        self.durable_applied: tuple[int, int] = (0, 0)
        self.pending_bytes = 0
        self.errors: list[Exception] = []
        self.begun = 0

    def begin_flush(self) -> FakeJob | None:
        if self.applied == self.durable_applied:
            return None
        self.begun += 1
        return FakeJob(self.applied, self.errors.pop(0) if self.errors else None)

    def finish_flush(self, job: FakeJob) -> None:
        self.durable_applied = job.applied
        self.pending_bytes = 0


class Marks(MemoryJournal):
    def __init__(self) -> None:
        super().__init__(Figures())
        self.marks: list[SnapshotMark] = []

    def mark(self, mark: SnapshotMark) -> None:
        self.marks.append(mark)


class FlushBench:
    def __init__(self, snapshot_count: int = 10) -> None:
        loop = asyncio.get_running_loop()
        self.backend = FakeBackend()
        self.journal = Marks()
        self.fatal: list[BaseException] = []
        self.full = 0
        self.flusher = Flusher(
            loop,
            cast(FlushingBackend, self.backend),
            Worker(loop, "test-flush"),
            self.journal,
            Figures(),
            snapshot_count=snapshot_count,
            mark_bytes=1000,
            marked=0,
            voters=(7,),
            no_space=self.no_space,
            fatal=self.fatal.append,
        )

    def no_space(self) -> None:
        self.full += 1

    async def flush(self) -> None:
        self.flusher.flush()
        await self.flusher._idle.wait()


def test_a_mark_follows_a_flush_and_names_what_is_durable() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (9, 2)
        await bench.flush()
        assert bench.journal.marks == []
        bench.backend.applied = (12, 2)
        bench.flusher.flush()
        bench.backend.applied = (15, 3)  # applied while the flush runs: not in it
        await bench.flusher._idle.wait()
        assert bench.journal.marks == [SnapshotMark(12, 2, (7,))]
        await bench.flusher.stop(healthy=False)

    run(check)


def test_few_large_entries_ask_for_a_mark_too() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.journal.unmarked_bytes = 1001
        await bench.flush()
        assert bench.journal.marks == []
        bench.backend.applied = (3, 2)
        await bench.flush()
        assert bench.journal.marks == [SnapshotMark(3, 2, (7,))]
        await bench.flusher.stop(healthy=False)

    run(check)


def test_much_that_waits_is_flushed_at_once_and_only_once() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (1, 1)
        bench.flusher.relieve()
        assert bench.backend.begun == 0
        bench.backend.pending_bytes = PRESSURE_BYTES + 1
        bench.flusher.relieve()
        bench.flusher.relieve()
        assert bench.backend.begun == 1
        await bench.flusher.stop(healthy=True)

    run(check)


def test_a_full_disk_is_told_and_tried_again() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (20, 1)
        bench.backend.errors = [BackendFull("no space"), BackendFull("no space")]
        await bench.flush()
        await bench.flush()
        assert (bench.full, bench.fatal, bench.journal.marks) == (2, [], [])
        await bench.flush()
        assert bench.journal.marks == [SnapshotMark(20, 1, (7,))]
        await bench.flusher.stop(healthy=True)

    run(check)


def test_another_failure_of_a_flush_is_the_end() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (20, 1)
        bench.backend.errors = [BackendFailed("input/output error")]
        await bench.flush()
        assert [str(error) for error in bench.fatal] == ["input/output error"]
        assert bench.journal.marks == []
        await bench.flusher.stop(healthy=False)

    run(check)


def test_a_flush_that_cannot_be_taken_in_is_the_end() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (20, 1)
        bench.backend.finish_flush = broken  # type: ignore[method-assign,assignment]  # the backend cannot read its new state
        await bench.flush()
        assert [str(error) for error in bench.fatal] == ["no reader"]
        await bench.flusher.stop(healthy=False)

    def broken(_: FakeJob) -> None:
        raise RuntimeError("no reader")

    run(check)


def test_after_a_failure_nothing_is_flushed() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (20, 1)
        bench.flusher.halt()
        await bench.flush()
        assert bench.backend.begun == 0
        await bench.flusher.stop(healthy=False)

    run(check)


def test_a_stop_flushes_what_is_left() -> None:
    async def check() -> None:
        bench = FlushBench()
        bench.backend.applied = (3, 1)
        await bench.flusher.stop(healthy=True)
        assert bench.backend.durable_applied == (3, 1)

    run(check)
