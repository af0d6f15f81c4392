"""The port contract, first half: reading, writing, watching, time; and what scenarios are made of."""

from __future__ import annotations

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
from coord.model import EventKind, WatchBatch
from coord.ops import Get, Txn, delete, missing, put
from coord.port import Port, Session, Watching, WatchTarget

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


async def eventually(bench: Bench, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look, through the other client, until it is so."""
    deadline = soon(bench.other)
    while not await condition():
        assert bench.other.now() < deadline, f"{what}: not in {PATIENCE} s"
        await bench.other.sleep(until=bench.other.now() + 0.02)


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
    first = last = await write(port, b"w/k")
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
