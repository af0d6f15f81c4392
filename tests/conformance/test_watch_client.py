"""The client's watches against every server: nothing lost, nothing twice, whatever happens to stream and server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from coord.client.watch.actions import CAPACITY, WatchSpec
from coord.client.watch.faces import WatchReader
from coord.errors import CallTimeout, Compacted
from coord.model import WatchBatch
from coord.ops import Txn, put, span
from coord.port import Port
from tests.benches import KINDS, AsyncBench, Bench, make_bench, no_threads_left
from tests.conftest import make_server
from tests.servers import ServerProcess

PATIENCE = 15.0


@pytest.fixture(scope="session")
def watch_server(server_kind: str) -> Iterator[ServerProcess]:
    """A server that these tests restart and compact."""
    with make_server(server_kind, flags=["--max-request-bytes=8388608"]) as server:
        yield server.start()


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, watch_server: ServerProcess, prefix: bytes) -> Iterator[Bench]:
    with no_threads_left():
        yield make_bench(request.param, watch_server.target, namespace=prefix)


def spec(key: str = "w/", *, prefix: bool = True, from_revision: int = 0, capacity: int = CAPACITY) -> WatchSpec:
    start, end = span(key, prefix=prefix)
    return WatchSpec(start, end, from_revision, capacity=capacity)


@asynccontextmanager
async def watching(bench: Bench, wanted: WatchSpec, policy: str = "resync") -> AsyncIterator[WatchReader]:
    reader = WatchReader(bench.port, wanted, policy)  # type: ignore[arg-type]  # one of the two
    try:
        await reader.start(bench.port.now() + PATIENCE)
        yield reader
    finally:
        reader.close()


async def write(port: Port, *keys: str, value: bytes = b"v") -> int:
    """One revision with these keys."""
    done = await port.txn(Txn(then=tuple(put(key, value) for key in keys)), deadline=port.now() + PATIENCE)
    return done.header.revision


async def take(bench: Bench, reader: WatchReader, count: int) -> list[WatchBatch]:
    return [await reader.next(bench.port.now() + PATIENCE) for _ in range(count)]


def shown(batches: list[WatchBatch]) -> list[tuple[int, list[bytes]]]:
    return [(batch.revision, [event.item.key for event in batch.events]) for batch in batches]


def test_what_happens_after_entering_is_seen(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench, spec()) as reader:
            wanted = [(await write(bench.other, f"w/{n}", f"w/{n}b"), [b"w/%d" % n, b"w/%db" % n]) for n in range(20)]
            assert shown(await take(bench, reader, 20)) == wanted
            assert reader.revision == wanted[-1][0]
            assert reader.lag < PATIENCE

    bench.run(scenario())


def test_a_restart_loses_nothing_and_repeats_nothing(bench: Bench, watch_server: ServerProcess) -> None:
    async def scenario() -> None:
        async with watching(bench, spec()) as reader, watching(bench, spec("w/1", prefix=False)) as single:
            wanted = []
            for end in (watch_server.kill, watch_server.stop):
                wanted += [await write(bench.other, f"w/{n}") for n in range(5)]
                await bench.away(end)
                await bench.away(watch_server.start)
                wanted += [await write(bench.other, f"w/{n}") for n in range(5)]
            assert [batch.revision for batch in await take(bench, reader, 20)] == wanted
            assert [batch.revision for batch in await take(bench, single, 4)] == wanted[1::5]
            with pytest.raises(CallTimeout):
                await reader.next(bench.port.now() + 0.3)

    bench.run(scenario())


def test_a_watch_opened_while_the_server_is_down_begins_when_it_is_back(
    bench: Bench, watch_server: ServerProcess
) -> None:
    async def scenario() -> None:
        begin = await write(bench.other, "w/a") + 1
        await bench.away(watch_server.stop)
        reader = WatchReader(bench.port, spec(from_revision=begin), "resync")
        with pytest.raises(CallTimeout):
            await reader.start(bench.port.now() + 0.3)
        await bench.away(watch_server.start)
        revision = await write(bench.other, "w/b")
        assert shown(await take(bench, reader, 1)) == [(revision, [b"w/b"])]
        reader.close()

    bench.run(scenario())


def test_compaction_resyncs_to_the_whole_state(bench: Bench) -> None:
    async def scenario() -> None:
        first = last = await write(bench.other, "w/0", value=b"old")
        for n in range(4):
            last = await write(bench.other, f"w/{n}", value=b"new")
        await bench.compact(last)
        async with watching(bench, spec(from_revision=first)) as reader:
            [batch] = await take(bench, reader, 1)
            assert batch.resync
            assert batch.revision >= last
            assert [(item.key, item.value) for item in batch.items] == [(b"w/%d" % n, b"new") for n in range(4)]
            after = await write(bench.other, "w/9")
            assert shown(await take(bench, reader, 1)) == [(after, [b"w/9"])]

    bench.run(scenario())


def test_compaction_raises_for_who_asked_for_it(bench: Bench) -> None:
    async def scenario() -> None:
        first = await write(bench.other, "w/0")
        last = await write(bench.other, "w/0")
        await bench.compact(last)
        async with watching(bench, spec(from_revision=first), "raise") as reader:
            for _ in range(2):
                with pytest.raises(Compacted):
                    await take(bench, reader, 1)

    bench.run(scenario())


def test_a_slow_reader_loses_nothing_and_holds_up_nobody(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench, spec(capacity=100_000)) as slow, watching(bench, spec()) as fast:
            wanted = [await write(bench.other, f"w/{n}", value=b"x" * 10_000) for n in range(100)]
            assert [batch.revision for batch in await take(bench, fast, 100)] == wanted
            assert slow._watching._inbox.waiting <= 11
            assert [batch.revision for batch in await take(bench, slow, 100)] == wanted

    bench.run(scenario())


def test_what_a_slow_reader_has_not_seen_may_be_compacted_away(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench, spec(capacity=1)) as slow:
            first = last = await write(bench.other, "w/0")
            for n in range(5):
                last = await write(bench.other, f"w/{n}", value=b"new")
            await slow.next(bench.port.now() + PATIENCE)
            assert slow.revision == first
            await bench.compact(last)
            got = await take(bench, slow, 1)
            while not got[-1].resync:  # what was on its way when the store was compacted
                got += await take(bench, slow, 1)
            assert [item.value for item in got[-1].items] == [b"new"] * 5

    bench.run(scenario())


def test_large_events_arrive_in_fragments_and_whole(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench, spec()) as reader:
            keys = tuple(f"w/{n}" for n in range(5))
            revisions = [await write(bench.other, *keys, value=b"x" * 1_000_000) for _ in range(2)]
            batches = await take(bench, reader, 2)
            assert shown(batches) == [(revision, [key.encode() for key in keys]) for revision in revisions]
            assert all(len(event.item.value) == 1_000_000 for batch in batches for event in batch.events)
        async with watching(bench, spec(from_revision=revisions[0])) as reader:
            assert [batch.revision for batch in await take(bench, reader, 2)] == revisions

    bench.run(scenario())


def test_a_long_history_comes_in_order(bench: Bench) -> None:
    async def scenario() -> None:
        first = last = await write(bench.other, "w/a")
        for _ in range(1500):
            last = await write(bench.other, "w/a")
        async with watching(bench, spec(from_revision=first)) as reader:
            batches = await take(bench, reader, 1501)
            assert [batch.revision for batch in batches] == list(range(first, last + 1))

    bench.run(scenario())


def test_many_watchers_share_one_stream(bench: Bench) -> None:
    async def scenario() -> None:
        readers = [WatchReader(bench.port, spec(f"w/{n}", prefix=False), "resync") for n in range(200)]
        for reader in readers:
            await reader.start(bench.port.now() + PATIENCE)
        for n in range(0, 200, 10):
            revision = await write(bench.other, f"w/{n}")
            assert shown(await take(bench, readers[n], 1)) == [(revision, [b"w/%d" % n])]
        for reader in readers:
            reader.close()

    bench.run(scenario())


def test_two_loops_in_one_process(watch_server: ServerProcess, prefix: bytes) -> None:
    async def scenario(bench: AsyncBench) -> None:
        async with watching(bench, spec()) as reader:
            revision = await write(bench.other, "w/a")
            assert shown(await take(bench, reader, 1)) == [(revision, [b"w/a"])]

    for _ in range(2):
        bench = AsyncBench(watch_server.target, namespace=prefix)
        bench.run(scenario(bench))


def test_no_task_is_left(watch_server: ServerProcess, prefix: bytes) -> None:
    async def main() -> None:
        bench = AsyncBench(watch_server.target, namespace=prefix)

        async def scenario() -> None:
            async with watching(bench, spec()) as reader:
                await bench.port.session(5, deadline=None)
                await write(bench.other, "w/a")
                await take(bench, reader, 1)

        before = asyncio.all_tasks()
        await bench._run(scenario())
        assert asyncio.all_tasks() == before

    asyncio.run(main())
