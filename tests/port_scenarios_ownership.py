"""The port contract, second half: sessions, tickets, declared keys, closing."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

from coord.errors import ClosedError, LeaseLost
from coord.model import LeaseState, TxnResult
from coord.ops import Get, Txn, delete, missing, put
from coord.port import Port, Session, Ticket, WatchTarget
from tests.port_scenarios import SCENARIOS, Bench, eventually, raised, read, scenario, soon, write


async def lease_of(port: Port, key: bytes) -> int:
    found = await port.range(Get(key), deadline=soon(port))
    return 0 if found.first is None else found.first.lease


async def claim(port: Port, ticket: Ticket, value: bytes = b"") -> TxnResult:
    request = Txn((missing(ticket.key),), (put(ticket.key, value, lease=ticket.session.lease),))
    return await port.claim(ticket, request, deadline=soon(port))


async def gone(bench: Bench, key: bytes) -> None:
    async def condition() -> bool:
        return await read(bench.other, key) is None

    await eventually(bench, condition, f"{key!r} is gone")


class Guard:
    """Something that can own a ticket."""


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
async def several_are_withdrawn_together(bench: Bench) -> None:
    session = await bench.port.session(5, deadline=soon(bench.port))
    tickets = [bench.port.ticket(session, b"t/%d" % number) for number in range(3)]
    for ticket in tickets[:2]:
        await claim(bench.port, ticket)
    before = await write(bench.other, b"t/probe")
    assert await bench.port.withdraw(*tickets)
    for ticket in tickets:
        assert await read(bench.other, ticket.key) is None
    assert await write(bench.other, b"t/probe") == before + 2, "in one transaction"
    assert await bench.port.withdraw()


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
async def a_guard_has_a_ticket_until_its_limit(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    ticket, guard = port.ticket(session, b"t/name"), Guard()
    await claim(port, ticket)
    port.hold(ticket, guard)
    told: list[str] = []
    assert port.limit(ticket, port.now() + 60, lambda: told.append("never"))
    assert port.limit(ticket, port.now() + 0.3, lambda: told.append("over"))
    assert await read(bench.other, ticket.key) is not None
    await gone(bench, ticket.key)
    assert told == ["over"]
    assert not port.limit(ticket, port.now() + 60, lambda: None)


@scenario
async def a_spent_ticket_is_not_withdrawn(bench: Bench) -> None:
    port = bench.port
    session = await port.session(5, deadline=soon(port))
    ticket, guard = port.ticket(session, b"t/name"), Guard()
    await claim(port, ticket)
    port.hold(ticket, guard)
    sent = port.now()
    await port.txn(Txn(then=(delete(ticket.key),)), deadline=soon(port))
    port.spent(ticket, sent=sent)
    await write(port, ticket.key, b"of somebody else")
    del guard
    gc.collect()
    await port.withdraw(ticket)
    assert await read(bench.other, ticket.key) is not None


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
async def a_close_is_told_once_and_afterwards_at_once(bench: Bench) -> None:
    port = bench.port
    told: list[str] = []
    port.on_close(lambda: told.append("first"))
    forget = port.on_close(lambda: told.append("forgotten"))
    forget()
    await bench.close()
    await bench.close()
    port.on_close(lambda: told.append("late"))
    assert [each for each in told if each != "first"] == ["late"]
    assert "first" in told


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


__all__ = ["SCENARIOS"]
