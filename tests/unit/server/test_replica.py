"""The replica's round: log, disk, commit, apply, answer; with a state machine and a disk that the test controls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from coord.server.consensus import Entry, HardState, Ready, SnapshotMark
from coord.server.entry_pb2 import Envelope
from coord.server.invariant import InvariantBroken
from coord.server.machine.apply import StateMachine
from coord.server.member import commands
from coord.server.member.figures import Figures
from coord.server.member.identity import Identity
from coord.server.member.pending import Pending
from coord.server.member.replica import Limits, Replica
from coord.server.member.solo import SoloConsensus
from coord.statuses import (
    KEY_NOT_FOUND,
    NO_SPACE,
    REQUEST_TOO_LARGE,
    STOPPED,
    TIMED_OUT,
    TOO_MANY_REQUESTS,
    Refused,
    Status,
)
from coord.wire.rpc_pb2 import AlarmRequest, DeleteRangeRequest, LeaseRevokeRequest, PutRequest

IDENTITY = Identity(0x11, 0x22)


class Recorder:
    """A state machine that remembers what it was told; a put of b"refuse" is refused, of b"break" breaks it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, envelope: Envelope) -> Any:
        key = envelope.put.key
        self.seen.append(key)
        if key == b"refuse":
            raise Refused(KEY_NOT_FOUND)
        if key == b"break":
            raise RuntimeError("broken machine")
        return b"did " + key


class HeldJournal:
    """A disk that writes when the test says so."""

    def __init__(self) -> None:
        self.low_space = False
        self.unmarked_bytes = 0
        self.batches: list[list[Entry]] = []
        self._done: list[Callable[[], None]] = []

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        self.batches.append(list(ready.entries))
        self._done.append(done)
        return False

    def sync(self) -> None:
        self._done.pop(0)()

    def mark(self, mark: SnapshotMark) -> None:
        raise AssertionError("not marked in these tests")

    def keep_up(self) -> None:
        """Nothing to look after."""

    async def close(self) -> None:
        """Nothing to close."""


class Bench:
    """A started replica on a held disk."""

    def __init__(self, limits: Limits | None = None, unapplied: list[Entry] | None = None) -> None:
        self.machine = Recorder()
        self.journal = HeldJournal()
        self.fatal: list[BaseException] = []
        self.sealed: list[int] = []
        rest = unapplied or []
        last = rest[-1].index if rest else 0
        self.consensus = SoloConsensus(IDENTITY.member_id, HardState(1), last, rest)
        self.replica = Replica(
            IDENTITY,
            self.consensus,
            cast(StateMachine, self.machine),
            self.journal,
            loop=asyncio.get_running_loop(),
            seal=lambda index, _: self.sealed.append(index),
            limits=limits,
            figures=Figures(),
            on_fatal=self.fatal.append,
        )

    async def start(self) -> Replica:
        starting = asyncio.ensure_future(self.replica.start())
        await turn()
        self.journal.sync()
        await starting
        return self.replica


async def turn(times: int = 3) -> None:
    """Let the loop run what is planned."""
    for _ in range(times):
        await asyncio.sleep(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def put(key: bytes) -> PutRequest:
    return PutRequest(key=key, value=b"v")


def status(pending: Pending[Any]) -> Status:
    assert isinstance(pending.error, Refused)
    return pending.error.status


def test_the_first_entry_of_the_term_is_applied_before_start_returns() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        assert bench.machine.seen == []
        assert (replica.term, replica.commit, replica.applied, replica.leader) == (2, 1, 1, IDENTITY.member_id)

    run(check)


def test_recovery_applies_the_rest_of_the_log_first() -> None:
    async def check() -> None:
        rest = [Entry(1, 1, 0, Envelope(version=1, put=put(b"old")).SerializeToString())]
        bench = Bench(unapplied=rest)
        replica = await bench.start()
        assert bench.machine.seen == [b"old"]
        assert replica.applied == 2

    run(check)


def test_a_start_waits_for_the_whole_log_however_many_slices_it_takes() -> None:
    async def check() -> None:
        rest = [Entry(1, n, 0, commands.encode(n, 7, {"put": put(b"k%d" % n)})) for n in range(1, 21)]
        bench = Bench(Limits(apply_slice=0.0), unapplied=rest)
        await bench.start()
        assert bench.machine.seen == [b"k%d" % n for n in range(1, 21)]
        assert len(bench.sealed) > 1, "it took one slice only: this proved nothing"

    run(check)


def test_nothing_is_applied_or_answered_before_the_disk_has_it() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        answer = replica.propose(put=put(b"a"))
        await turn(10)
        assert not answer.done
        assert bench.machine.seen == []
        bench.journal.sync()
        assert answer.result() == b"did a"

    run(check)


def test_all_proposals_of_one_turn_are_one_write() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        answers = [replica.propose(put=put(b"%d" % n)) for n in range(50)]
        await turn()
        assert [len(batch) for batch in bench.journal.batches] == [1, 50]
        bench.journal.sync()
        assert [answer.result() for answer in answers] == [b"did %d" % n for n in range(50)]

    run(check)


def test_the_next_write_starts_before_the_last_is_applied() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        replica.propose(put=put(b"a"))
        await turn()
        replica.propose(put=put(b"b"))
        applied_at_write: list[int] = []
        replica.after_apply.append(lambda: applied_at_write.append(len(bench.journal.batches)))
        bench.journal.sync()
        assert applied_at_write == [3]

    run(check)


def test_a_refusal_of_the_machine_reaches_its_caller_alone() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        bad, good = replica.propose(put=put(b"refuse")), replica.propose(put=put(b"fine"))
        await turn()
        bench.journal.sync()
        assert status(bad) == KEY_NOT_FOUND
        assert good.result() == b"did fine"
        assert replica.applied == 3

    run(check)


def test_a_broken_machine_ends_the_replica_and_acknowledges_nothing_more() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        before, broken, after = (replica.propose(put=put(key)) for key in (b"a", b"break", b"b"))
        await turn()
        bench.journal.sync()
        assert [str(error) for error in bench.fatal] == ["broken machine"]
        assert [status(pending) for pending in (before, broken, after)] == [STOPPED] * 3
        with pytest.raises(Refused):
            replica.propose(put=put(b"c"))

    run(check)


def test_a_broken_machine_is_read_no_more() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        stopped: list[int] = []
        replica.at_failure.append(lambda: stopped.append(len(bench.fatal)))
        replica.propose(put=put(b"break"))
        await turn()
        bench.journal.sync()
        assert stopped == [0], "what goes on beside the log is stopped before anything else"
        assert replica.applied == replica.commit
        with pytest.raises(Refused):
            replica.read_barrier()

    run(check)


def test_an_unreadable_entry_ends_the_replica() -> None:
    async def check() -> None:
        bench = Bench(unapplied=[Entry(1, 1, 0, Envelope(version=99, put=put(b"x")).SerializeToString())])
        starting = asyncio.ensure_future(bench.replica.start())
        await turn()
        bench.journal.sync()
        with pytest.raises(Exception, match="newer version"):
            await starting
        assert bench.machine.seen == []

    run(check)


def test_a_request_that_waits_too_long_is_told_so_and_may_still_be_applied() -> None:
    async def check() -> None:
        bench = Bench(Limits(request_timeout=0.01))
        replica = await bench.start()
        answer = replica.propose(put=put(b"a"))
        with pytest.raises(Refused, match="request timed out"):
            await answer
        assert status(answer) == TIMED_OUT
        bench.journal.sync()
        assert bench.machine.seen == [b"a"]
        assert replica.waiting == 0

    run(check)


def test_too_large_a_request_is_refused_at_once() -> None:
    async def check() -> None:
        replica = await Bench(Limits(request_bytes=500)).start()
        with pytest.raises(Refused) as refused:
            replica.propose(put=PutRequest(key=b"k", value=b"v" * 500))
        assert refused.value.status == REQUEST_TOO_LARGE

    run(check)


def test_a_full_queue_is_pushed_back() -> None:
    async def check() -> None:
        bench = Bench(Limits(queued_bytes=100))
        replica = await bench.start()
        taken = replica.propose(put=PutRequest(key=b"k", value=b"v" * 200))
        for _ in ("gathered", "on its way to the disk"):
            with pytest.raises(Refused) as refused:
                replica.propose(put=put(b"a"))
            assert refused.value.status == TOO_MANY_REQUESTS
            await turn()
        bench.journal.sync()
        assert taken.done
        replica.propose(put=put(b"a"))

    run(check)


def test_a_lagging_flush_is_pushed_back() -> None:
    async def check() -> None:
        replica = await Bench().start()
        replica.lagging = lambda: True
        with pytest.raises(Refused) as refused:
            replica.propose(put=put(b"a"))
        assert refused.value.status == TOO_MANY_REQUESTS

    run(check)


def test_unapplied_entries_push_back_and_revocations_get_twice_the_room() -> None:
    async def check() -> None:
        bench = Bench(Limits(unapplied=10, apply_slice=0.0))
        replica = await bench.start()
        for n in range(15):
            replica.propose(put=put(b"%d" % n))
        await turn()
        bench.journal.sync()
        assert replica.commit - replica.applied == 14
        with pytest.raises(Refused) as refused:
            replica.propose(put=put(b"a"))
        assert refused.value.status == TOO_MANY_REQUESTS
        replica.propose(lease_revoke=LeaseRevokeRequest(ID=1))

    run(check)


def test_a_long_batch_is_applied_in_slices() -> None:
    async def check() -> None:
        bench = Bench(Limits(apply_slice=0.0))
        replica = await bench.start()
        answers = [replica.propose(put=put(b"%d" % n)) for n in range(4)]
        await turn()
        bench.journal.sync()
        assert [answer.done for answer in answers] == [True, False, False, False]
        barrier = replica.read_barrier()
        assert barrier is not None
        await barrier
        assert [answer.done for answer in answers] == [True] * 4
        assert bench.machine.seen == [b"0", b"1", b"2", b"3"]
        assert bench.sealed == [1, 2, 3, 4, 5]

    run(check)


def test_low_space_refuses_writes_and_lets_alarms_and_revocations_through() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        bench.journal.low_space = True
        bodies: list[dict[str, Any]] = [{"put": put(b"a")}, {"delete_range": DeleteRangeRequest(key=b"a")}]
        for body in bodies:
            with pytest.raises(Refused) as refused:
                replica.propose(**body)
            assert refused.value.status == NO_SPACE
        replica.propose(alarm=AlarmRequest())
        replica.propose(lease_revoke=LeaseRevokeRequest(ID=1))

    run(check)


def test_a_read_needs_no_waiting_on_a_lone_leader() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        assert replica.read_barrier() is None
        replica.propose(put=put(b"a"))
        await turn()
        assert replica.read_barrier() is None

    run(check)


def test_a_read_before_the_first_entry_of_the_term_waits_for_it() -> None:
    async def check() -> None:
        bench = Bench()
        starting = asyncio.ensure_future(bench.replica.start())
        barrier = bench.replica.read_barrier()
        assert barrier is not None
        await turn()
        with pytest.raises(InvariantBroken):
            barrier.result()
        bench.journal.sync()
        await starting
        await barrier

    run(check)


def test_a_stop_lets_requests_finish_and_refuses_new_ones() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        answer = replica.propose(put=put(b"a"))
        stopping = asyncio.ensure_future(replica.stop())
        await turn()
        with pytest.raises(Refused) as refused:
            replica.propose(put=put(b"b"))
        assert refused.value.status == STOPPED
        assert not stopping.done()
        bench.journal.sync()
        await stopping
        assert answer.result() == b"did a"

    run(check)


def test_a_stop_ends_what_does_not_finish() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        answer = replica.propose(put=put(b"a"))
        await replica.stop(grace=0.01)
        assert status(answer) == STOPPED

    run(check)


def test_a_failed_write_ends_the_replica_and_acknowledges_nothing() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        answer = replica.propose(put=put(b"a"))
        await turn()
        replica.fatal(OSError(5, "input/output error"))
        replica.fatal(OSError(5, "a second one"))
        assert len(bench.fatal) == 1
        assert status(answer) == STOPPED
        bench.journal.sync()
        assert bench.machine.seen == []

    run(check)


def test_entries_of_other_members_answer_nobody_here() -> None:
    async def check() -> None:
        bench = Bench()
        replica = await bench.start()
        mine = replica.propose(put=put(b"a"))
        foreign = Envelope(version=1, member_id=99, request_id=next(iter(replica._waiting)), put=put(b"x"))
        replica._apply(Entry(2, 2, 0, foreign.SerializeToString()))
        replica._answer()
        assert not mine.done

    run(check)


def test_slices_end_in_time_on_any_loop() -> None:
    """uvloop's own time stands still during a callback."""
    uvloop = pytest.importorskip("uvloop")

    async def check() -> None:
        bench = Bench(Limits(apply_slice=0.0))
        replica = await bench.start()
        answers = [replica.propose(put=put(b"%d" % n)) for n in range(4)]
        await turn()
        bench.journal.sync()
        assert [answer.done for answer in answers] == [True, False, False, False]
        await answers[-1]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 20))
