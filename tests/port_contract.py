"""What every port must do, as scenarios that run over any of them: blocking, asyncio, simulated.

A test module makes a `Bench` for its port and runs each scenario with it::

    @pytest.mark.parametrize("name", SCENARIOS)
    def test_contract(name, bench):
        bench.run(SCENARIOS[name](bench))

Scenarios await nothing but ports, jobs and the bench, so they run without a loop over ports that never suspend.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from coord.errors import (
    CallTimeout,
    ClosedError,
    Compacted,
    CoordError,
    LeaseLost,
    LeaseNotFound,
)
from coord.model import EventKind, LeaseState, TxnResult, WatchBatch
from coord.ops import Get, Txn, delete, missing, put
from coord.port import Port, Session, Ticket, Watching, WatchTarget

PATIENCE = 8.0
"""Seconds (of the port's clock) after which something that must happen has not."""


class Job(Protocol):
    """A program that runs beside the scenario."""

    async def result(self) -> Any:
        """Wait for its end; what it raised is raised here."""
        ...


class Bench(Protocol):
    """A port under test, a second client's port on the same store, and what a program cannot do by itself."""

    port: Port
    other: Port

    def spawn(self, program: Coroutine[Any, Any, Any]) -> Job:
        """Run a program beside the scenario."""
        ...

    async def lose(self, session: Session) -> None:
        """Have `port`'s keeper find that this session is lost."""
        ...

    async def close(self) -> None:
        """Close the client of `port`."""
        ...

    async def compact(self, revision: int) -> None:
        """Compact the store."""
        ...


Scenario = Callable[[Any], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario; its name is its sentence."""
    SCENARIOS[function.__name__] = function
    return function


# --- helpers


def soon(port: Port) -> float:
    return port.now() + PATIENCE


async def write(port: Port, key: bytes, value: bytes = b"v") -> int:
    """Put a key; returns the revision."""
    done = await port.txn(Txn(then=(put(key, value),)), deadline=soon(port))
    return done.header.revision


async def read(port: Port, key: bytes) -> bytes | None:
    found = await port.range(Get(key), deadline=soon(port))
    return None if found.first is None else found.first.value


async def lease_of(port: Port, key: bytes) -> int:
    found = await port.range(Get(key), deadline=soon(port))
    return 0 if found.first is None else found.first.lease


async def claim(port: Port, ticket: Ticket, value: bytes = b"") -> TxnResult:
    request = Txn((missing(ticket.key),), (put(ticket.key, value, lease=ticket.session.lease),))
    return await port.claim(ticket, request, deadline=soon(port))


async def eventually(bench: Bench, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look, through the other client, until it is so."""
    deadline = soon(bench.other)
    while not await condition():
        assert bench.other.now() < deadline, f"{what}: not in {PATIENCE} s"
        await bench.other.sleep(until=bench.other.now() + 0.02)


async def gone(bench: Bench, key: bytes) -> None:
    async def condition() -> bool:
        return await read(bench.other, key) is None

    await eventually(bench, condition, f"{key!r} is gone")


async def raised(program: Awaitable[Any]) -> CoordError:
    """The error that a program ends with."""
    try:
        result = await program
    except CoordError as error:
        return error
    raise AssertionError(f"returned {result!r} instead of raising")


async def next_of(port: Port, watching: Watching) -> WatchBatch:
    return await watching.next(deadline=soon(port))


def keys_of(batch: WatchBatch) -> list[bytes]:
    return [event.item.key for event in batch.events]


class Guard:
    """Something that can own a ticket."""


# --- reading and writing


@scenario
async def what_a_transaction_wrote_is_read(bench: Bench) -> None:
    revision = await write(bench.port, b"a/k", b"1")
    found = await bench.port.range(Get(b"a/k"), deadline=soon(bench.port))
    assert found.first is not None
    assert (found.first.key, found.first.value, found.first.mod_revision) == (b"a/k", b"1", revision)
    assert found.header.revision >= revision


@scenario
async def a_transaction_takes_the_branch_its_comparison_says(bench: Bench) -> None:
    request = Txn((missing("a/k"),), (put("a/k", "first"),), (Get(b"a/k"),))
    assert (await bench.port.txn(request, deadline=soon(bench.port))).succeeded
    second = await bench.port.txn(request, deadline=soon(bench.port))
    assert not second.succeeded
    assert second.range(0).items[0].value == b"first"


@scenario
async def a_deadline_in_the_past_sends_nothing(bench: Bench) -> None:
    port = bench.port
    past = port.now() - 1
    assert isinstance(await raised(port.txn(Txn(then=(put("a/k", "x"),)), deadline=past)), CallTimeout)
    assert isinstance(await raised(port.range(Get(b"a/k"), deadline=past)), CallTimeout)
    assert isinstance(await raised(port.session(5, deadline=past)), CallTimeout)
    assert await read(port, b"a/k") is None


@scenario
async def a_refusal_says_what_was_refused(bench: Bench) -> None:
    request = Txn(then=(put("a/k", "x", lease=12345),))
    assert isinstance(await raised(bench.port.txn(request, deadline=soon(bench.port))), LeaseNotFound)


# --- watching


@scenario
async def a_watch_begins_at_its_revision(bench: Bench) -> None:
    port = bench.port
    await write(port, b"w/k", b"1")
    second = await write(port, b"w/k", b"2")
    third = await write(port, b"w/k", b"3")
    watching = port.watch([WatchTarget(b"w/k")], from_revision=second)
    assert (await next_of(port, watching)).revision == second
    batch = await next_of(port, watching)
    assert batch.revision == third
    assert batch.events[0].item.value == b"3"
    watching.close()


@scenario
async def a_watch_wakes_its_waiter(bench: Bench) -> None:
    revision = await write(bench.port, b"w/k")
    watching = bench.port.watch([WatchTarget(b"w/k")], from_revision=revision + 1)
    job = bench.spawn(next_of(bench.port, watching))
    put_at = await write(bench.other, b"w/k", b"new")
    batch = await job.result()
    assert batch.revision == put_at
    assert batch.events[0].item.value == b"new"
    watching.close()


@scenario
async def a_revision_comes_whole(bench: Bench) -> None:
    port = bench.port
    before = await write(port, b"w/a")
    ops = (put("w/a", "1"), put("w/b", "2"), put("w/c", "3"))
    done = await port.txn(Txn(then=ops), deadline=soon(port))
    watching = port.watch([WatchTarget(b"w/", b"w0")], from_revision=before + 1)
    batch = await next_of(port, watching)
    assert batch.revision == done.header.revision
    assert keys_of(batch) == [b"w/a", b"w/b", b"w/c"]
    watching.close()


@scenario
async def several_targets_share_a_handle(bench: Bench) -> None:
    port = bench.port
    begin = await write(port, b"w/unseen") + 1
    watching = port.watch([WatchTarget(b"w/a"), WatchTarget(b"w/b")], from_revision=begin)
    wanted = [(await write(bench.other, key), key) for key in (b"w/a", b"w/b", b"w/a", b"w/c", b"w/b")]
    got = [await next_of(port, watching) for _ in range(4)]
    # Of each target in order; targets may overtake each other.
    for target in (b"w/a", b"w/b"):
        of_target = [batch.revision for batch in got if keys_of(batch) == [target]]
        assert of_target == [revision for revision, key in wanted if key == target]
    watching.close()


@scenario
async def unwanted_events_are_filtered(bench: Bench) -> None:
    port = bench.port
    begin = await write(port, b"w/k") + 1
    deletes = port.watch([WatchTarget(b"w/k", puts=False)], from_revision=begin)
    puts = port.watch([WatchTarget(b"w/k", deletes=False)], from_revision=begin)
    await port.txn(Txn(then=(delete("w/k"),)), deadline=soon(port))
    await write(port, b"w/k", b"back")
    assert (await next_of(port, deletes)).events[0].kind is EventKind.DELETE
    assert (await next_of(port, puts)).events[0].item.value == b"back"
    deletes.close()
    puts.close()


@scenario
async def waiting_for_news_ends_at_the_deadline_and_may_be_resumed(bench: Bench) -> None:
    port = bench.port
    revision = await write(port, b"w/k")
    watching = port.watch([WatchTarget(b"w/k")], from_revision=revision + 1)
    deadline = port.now() + 0.1
    assert isinstance(await raised(watching.next(deadline=deadline)), CallTimeout)
    assert port.now() >= deadline
    put_at = await write(port, b"w/k")
    assert (await next_of(port, watching)).revision == put_at
    watching.close()


@scenario
async def a_deadline_in_the_past_does_not_wait_for_news(bench: Bench) -> None:
    revision = await write(bench.port, b"w/k")
    watching = bench.port.watch([WatchTarget(b"w/k")], from_revision=revision + 1)
    assert isinstance(await raised(watching.next(deadline=bench.port.now() - 1)), CallTimeout)
    watching.close()


@scenario
async def waiting_for_news_ends_with_the_session(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    watching = port.watch([WatchTarget(b"w/k")], from_revision=await write(port, b"w/k") + 1)
    job = bench.spawn(raised(watching.next(deadline=None, session=session)))
    await bench.lose(session)
    assert isinstance(await job.result(), LeaseLost)
    assert isinstance(await raised(watching.next(deadline=None, session=session)), LeaseLost)
    watching.close()


@scenario
async def waiting_for_news_ends_with_the_client(bench: Bench) -> None:
    port = bench.port
    watching = port.watch([WatchTarget(b"w/k")], from_revision=await write(port, b"w/k") + 1)
    job = bench.spawn(raised(watching.next(deadline=None)))
    await bench.close()
    assert isinstance(await job.result(), ClosedError)
    assert isinstance(await raised(watching.next(deadline=None)), ClosedError)


@scenario
async def closing_a_watch_wakes_its_waiter(bench: Bench) -> None:
    port = bench.port
    watching = port.watch([WatchTarget(b"w/k")], from_revision=await write(port, b"w/k") + 1)
    job = bench.spawn(raised(watching.next(deadline=None)))
    watching.close()
    watching.close()
    assert isinstance(await job.result(), ClosedError)


@scenario
async def compacted_news_are_an_error(bench: Bench) -> None:
    port = bench.port
    first = await write(port, b"w/k")
    for _ in range(5):
        last = await write(port, b"w/k")
    await bench.compact(last)
    watching = port.watch([WatchTarget(b"w/k")], from_revision=first)
    error = await raised(next_of(port, watching))
    assert isinstance(error, Compacted)
    assert error.compact_revision == last
    watching.close()


# --- time


@scenario
async def sleep_lasts_until_its_instant(bench: Bench) -> None:
    until = bench.port.now() + 0.1
    await bench.port.sleep(until=until)
    assert bench.port.now() >= until
    await bench.port.sleep(until=bench.port.now() - 5)


@scenario
async def sleep_ends_with_the_session(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    job = bench.spawn(raised(bench.port.sleep(until=bench.port.now() + 3600, session=session)))
    await bench.lose(session)
    assert isinstance(await job.result(), LeaseLost)


@scenario
async def sleep_ends_with_the_client(bench: Bench) -> None:
    job = bench.spawn(raised(bench.port.sleep(until=bench.port.now() + 3600)))
    await bench.close()
    assert isinstance(await job.result(), ClosedError)


# --- sessions


@scenario
async def a_session_is_shared_by_time_to_live(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    assert (await port.session(5, deadline=soon(port))).lease == session.lease
    assert (await port.session(6, deadline=soon(port))).lease != session.lease
    assert session.state is LeaseState.HELD
    assert session.cause == ""
    assert 0 < session.remaining() <= session.ttl
    session.check()


@scenario
async def a_session_outlives_its_time_to_live(bench: Bench) -> None:
    port = bench.port
    session = await port.session(2, deadline=soon(port))
    ticket = port.ticket(session, b"s/name")
    await claim(port, ticket)
    await port.sleep(until=port.now() + 2.5 * session.ttl, session=session)
    assert session.state is LeaseState.HELD
    assert await read(bench.other, ticket.key) is not None
    await port.withdraw(ticket)


@scenario
async def a_lost_session_stays_lost_and_the_next_is_new(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    await bench.lose(session)
    assert session.state is LeaseState.LOST
    assert session.cause
    assert session.remaining() == 0
    error = await raised(_checked(session))
    assert isinstance(error, LeaseLost)
    assert (error.lease, error.cause) == (session.lease, session.cause)
    fresh = await port.session(5, deadline=soon(port))
    assert fresh.lease != session.lease
    assert session.state is LeaseState.LOST


async def _checked(session: Session) -> None:
    session.check()


@scenario
async def loss_is_told_once_and_can_be_untold(bench: Bench) -> None:
    port = bench.port
    told: list[str] = []
    session = await port.session(5, deadline=soon(port))
    session.on_lost(lambda: told.append("before"))
    forget = session.on_lost(lambda: told.append("never"))
    forget()
    await bench.lose(session)

    async def condition() -> bool:
        return told == ["before"]

    await eventually(bench, condition, "the loss is told")
    session.on_lost(lambda: told.append("after"))
    assert told == ["before", "after"]


@scenario
async def losing_a_session_takes_its_keys_along(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    ticket = bench.port.ticket(session, b"s/name")
    await claim(bench.port, ticket)
    await bench.lose(session)
    await gone(bench, ticket.key)


# --- tickets


@scenario
async def tickets_are_never_the_same(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    keys = {bench.port.ticket(session, b"t/name").key for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith(b"t/name/%x-" % session.lease) for key in keys)


@scenario
async def a_claim_puts_the_key_under_the_lease(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    ticket = bench.port.ticket(session, b"t/name")
    done = await claim(bench.port, ticket, b"me")
    assert done.succeeded
    assert await read(bench.other, ticket.key) == b"me"
    assert await lease_of(bench.other, ticket.key) == session.lease
    assert await bench.port.withdraw(ticket)


@scenario
async def nothing_is_claimed_under_a_lost_session(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    ticket = port.ticket(session, b"t/name")
    await bench.lose(session)
    assert isinstance(await raised(claim(port, ticket)), LeaseLost)
    assert isinstance(await raised(_ticket(port, session)), LeaseLost)
    assert await read(bench.other, ticket.key) is None


async def _ticket(port: Port, session: Session) -> Ticket:
    return port.ticket(session, b"t/name")


@scenario
async def withdrawing_removes_the_key(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    ticket = bench.port.ticket(session, b"t/name")
    await claim(bench.port, ticket)
    assert await bench.port.withdraw(ticket)
    assert await read(bench.other, ticket.key) is None
    assert await bench.port.withdraw(ticket)


@scenario
async def withdrawing_what_was_never_claimed_does_nothing(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    before = await write(bench.other, b"t/probe")
    assert await bench.port.withdraw(bench.port.ticket(session, b"t/name"))
    assert await write(bench.other, b"t/probe") == before + 1


@scenario
async def withdrawing_under_a_lost_session_does_not_raise(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    ticket = bench.port.ticket(session, b"t/name")
    await claim(bench.port, ticket)
    await bench.lose(session)
    await bench.port.withdraw(ticket)
    await gone(bench, ticket.key)


@scenario
async def a_ticket_leaves_with_its_guard(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    ticket = bench.port.ticket(session, b"t/name")
    await claim(bench.port, ticket)
    guard = Guard()
    bench.port.hold(ticket, guard)
    await bench.port.sleep(until=bench.port.now() + 0.3)
    assert await read(bench.other, ticket.key) is not None
    del guard
    gc.collect()
    await gone(bench, ticket.key)


# --- declared keys


@scenario
async def a_declared_key_is_kept_and_changed_and_withdrawn(bench: Bench) -> None:
    declared = bench.port.declare(b"d/k", b"1", ttl=5)
    lease = await declared.settled(deadline=soon(bench.port))
    assert await read(bench.other, b"d/k") == b"1"
    assert await lease_of(bench.other, b"d/k") == lease
    declared.update(b"2")
    await declared.settled(deadline=soon(bench.port))
    assert await read(bench.other, b"d/k") == b"2"
    await declared.withdraw()
    await gone(bench, b"d/k")
    assert isinstance(await raised(declared.settled(deadline=soon(bench.port))), ClosedError)


@scenario
async def a_declared_key_comes_back_after_a_loss(bench: Bench) -> None:
    port = bench.port
    declared = port.declare(b"d/k", b"1", ttl=5)
    lease = await declared.settled(deadline=soon(port))
    session = await port.session(5, deadline=soon(port))
    assert session.lease == lease
    await bench.lose(session)

    async def condition() -> bool:
        return await lease_of(bench.other, b"d/k") not in (0, lease)

    await eventually(bench, condition, "the key is back")
    assert await declared.settled(deadline=soon(port)) == await lease_of(bench.other, b"d/k")
    await declared.withdraw()


# --- closing


@scenario
async def closing_takes_every_key_along(bench: Bench) -> None:
    port = bench.port
    declared = port.declare(b"c/declared", b"1", ttl=5)
    await declared.settled(deadline=soon(port))
    session = await port.session(7, deadline=soon(port))
    ticket = port.ticket(session, b"c/name")
    await claim(port, ticket)
    guard = Guard()
    port.hold(ticket, guard)
    await bench.close()
    assert await read(bench.other, b"c/declared") is None
    assert await read(bench.other, ticket.key) is None
    assert session.state is LeaseState.LOST
    assert session.cause == "closed"


@scenario
async def nothing_works_after_closing(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    declared = port.declare(b"c/k", b"1", ttl=5)
    await bench.close()
    verbs: list[Coroutine[Any, Any, Any]] = [
        port.range(Get(b"c/k"), deadline=soon(port)),
        port.txn(Txn(then=(put("c/k", "x"),)), deadline=soon(port)),
        port.session(5, deadline=soon(port)),
        port.sleep(until=port.now() + 1),
        declared.settled(deadline=soon(port)),
        _declared(port),
        _watched(port),
    ]
    for verb in verbs:
        assert isinstance(await raised(verb), ClosedError), verb
    assert isinstance(await raised(_ticket(port, session)), (LeaseLost, ClosedError))


async def _declared(port: Port) -> None:
    port.declare(b"c/l", b"1", ttl=5)


async def _watched(port: Port) -> None:
    watching = port.watch([WatchTarget(b"c/k")], from_revision=1)
    await watching.next(deadline=soon(port))


__all__ = ["PATIENCE", "SCENARIOS", "Bench", "Job", "Scenario"]
