"""Watch and AsyncWatch over a port that is not there: compactions, ends, timeouts, arguments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from coord import clock
from coord.client.ports.base import PortBase
from coord.client.ports.mailbox import Listen
from coord.client.watch.actions import WatchSpec
from coord.client.watch.faces import AsyncWatch, Watch, watch_spec
from coord.client.watch.inbox import Inbox
from coord.errors import CallTimeout, ClosedError, Compacted, CoordError, Unavailable, UsageError
from coord.keys import EVERYTHING
from coord.model import Event, EventKind, Header, KeyValue, RangeResult, WatchBatch
from coord.ops import Get

STATE = RangeResult(Header(revision=50), (KeyValue(b"a", b"1"), KeyValue(b"b", b"2")))
GONE = Compacted("compacted", code=11, text="compacted", compact_revision=40)


def batch(revision: int) -> WatchBatch:
    return WatchBatch(revision, (Event(EventKind.PUT, KeyValue(b"a", b"v", 1, revision)),))


class FakeHub:
    """A watch shell that hands out what a test puts into its inboxes."""

    def __init__(self) -> None:
        self.specs: list[WatchSpec] = []
        self.inboxes: list[Inbox] = []
        self.dropped: list[int] = []
        self.taken: list[int] = []

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        self.specs.append(spec)
        self.inboxes.append(inbox)
        return len(self.specs)

    def drop(self, tokens: Sequence[int]) -> None:
        self.dropped.extend(tokens)

    def consumed(self, token: int, size: int) -> None:
        self.taken.append(token)

    def lag(self) -> float:
        return 1.5

    def trouble(self) -> CoordError | None:
        return Unavailable("nobody home")


class FakePort(PortBase):
    """A port in which nothing happens while one waits."""

    def __init__(self) -> None:
        self._hub = self.hub = FakeHub()
        self.reads = 0

    async def _wait(
        self, attempt: Callable[[], Any], listen: Listen, *, until: float | None, session: Any = None
    ) -> Any:
        return attempt()

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        self.reads += 1
        return STATE


def watch_over(port: FakePort, *, on_compacted: Any = "resync", from_revision: int = 0) -> Watch:
    spec = WatchSpec(b"a", b"c", from_revision)
    return Watch(port, spec, on_compacted=on_compacted, timeout=None, opening=5.0)


def test_batches_come_out_in_order_and_are_accounted_for() -> None:
    port = FakePort()
    watch = watch_over(port)
    for revision in (3, 4):
        port.hub.inboxes[0].push(1, batch(revision))
    assert [watch.next().revision, watch.next().revision] == [3, 4]
    assert watch.revision == 4
    assert port.hub.taken == [1, 1]
    assert watch.lag == 1.5


def test_entering_waits_for_the_confirmation() -> None:
    port = FakePort()
    watch = watch_over(port)
    with pytest.raises(CallTimeout) as caught, watch:
        pytest.fail("entered without it")
    assert isinstance(caught.value.__cause__, Unavailable)
    assert port.hub.dropped == [1], "a watch that could not be entered is closed"
    second = watch_over(port)
    port.hub.inboxes[1].confirm(2, 9)
    with second:
        assert second.revision == 9


def test_a_compaction_becomes_one_batch_with_everything() -> None:
    port = FakePort()
    watch = watch_over(port, from_revision=10)
    port.hub.inboxes[0].push(1, batch(12))
    port.hub.inboxes[0].fail(GONE)
    assert watch.next().revision == 12
    resync = watch.next()
    assert (resync.resync, resync.revision, resync.items) == (True, 50, STATE.items)
    assert port.hub.specs[1].from_revision == 51
    assert port.hub.dropped == [1]
    port.hub.inboxes[1].push(2, batch(60))
    assert watch.next().revision == 60
    assert port.reads == 1


def test_a_compaction_at_the_start_does_not_keep_from_entering() -> None:
    port = FakePort()
    watch = watch_over(port, from_revision=10)
    port.hub.inboxes[0].fail(GONE)
    with watch:
        assert watch.next().resync


def test_a_read_that_fails_leaves_the_resync_to_the_next_call() -> None:
    port = FakePort()
    watch = watch_over(port)
    port.hub.inboxes[0].fail(GONE)

    async def unreachable(request: Get, *, deadline: float | None) -> RangeResult:
        raise CallTimeout("no answer")

    port.range = unreachable  # type: ignore[method-assign]  # one bad moment
    with pytest.raises(CallTimeout):
        watch.next()
    del port.range
    assert watch.next().resync


def test_who_only_looks_gets_beyond_a_compaction() -> None:
    port = FakePort()
    watch = watch_over(port)
    port.hub.inboxes[0].fail(GONE)

    async def bounded(request: Get, *, deadline: float | None) -> RangeResult:
        assert deadline is not None
        if deadline <= clock.now():
            raise CallTimeout("too late")
        return STATE

    port.range = bounded  # type: ignore[method-assign]  # a port that looks at the time
    assert watch.next(timeout=0).resync


def test_raise_ends_the_watch_with_the_compaction() -> None:
    port = FakePort()
    watch = watch_over(port, on_compacted="raise")
    port.hub.inboxes[0].fail(GONE)
    for _ in range(2):
        with pytest.raises(Compacted):
            watch.next()
    with pytest.raises(Compacted), watch:
        pass


def test_iteration_ends_when_the_watch_is_closed_and_raises_when_the_client_is() -> None:
    port = FakePort()
    watch = watch_over(port)
    port.hub.inboxes[0].push(1, batch(3))
    watch.close()
    watch.close()
    assert [each.revision for each in watch] == [3]
    with pytest.raises(ClosedError):
        watch.next()
    other = watch_over(port)
    port.hub.inboxes[1].fail(ClosedError("the client was closed"))
    with pytest.raises(ClosedError):
        list(other)


def test_single_events_and_a_resync_as_puts() -> None:
    port = FakePort()
    watch = watch_over(port)
    events = watch.events()
    port.hub.inboxes[0].push(1, batch(3))
    assert next(events).item.mod_revision == 3
    port.hub.inboxes[0].fail(GONE)
    assert [next(events).item for _ in range(2)] == list(STATE.items)


def test_a_watch_that_is_dropped_is_dropped_at_the_hub() -> None:
    port = FakePort()
    watch = watch_over(port)
    del watch
    assert port.hub.dropped == [1]


def test_the_asyncio_face_does_the_same() -> None:
    async def main() -> None:
        port = FakePort()
        watch = AsyncWatch(port, WatchSpec(b"a"), on_compacted="resync", timeout=None, opening=5.0)
        port.hub.inboxes[0].confirm(1, 2)
        async with watch:
            assert watch.revision == 2
            port.hub.inboxes[0].push(1, batch(3))
            port.hub.inboxes[0].push(1, batch(4))
            port.hub.inboxes[0].fail(GONE)
            got = [each async for each in _some(watch, 3)]
            assert [each.revision for each in got] == [3, 4, 50]
            with pytest.raises(CallTimeout):
                await watch.next(timeout=0)
            events = watch.events()
            port.hub.inboxes[1].push(2, batch(60))
            assert (await anext(events)).item.mod_revision == 60
        assert [each async for each in watch] == []

    asyncio.run(main())


async def _some(watch: AsyncWatch, count: int) -> AsyncIterator[WatchBatch]:
    async for each in watch:
        yield each
        count -= 1
        if not count:
            return


def checked(key: str = "b", **changes: Any) -> WatchSpec:
    plain: dict[str, Any] = {
        "prefix": False,
        "range_end": None,
        "from_revision": 0,
        "previous": False,
        "puts": True,
        "deletes": True,
        "progress": False,
    }
    return watch_spec(key, **(plain | changes))


@pytest.mark.parametrize(
    "wrong",
    [
        {"from_revision": -1},
        {"from_revision": 2**63},
        {"key": "\udc80"},
        {"range_end": "a"},
        {"range_end": "b"},
        {"puts": False, "deletes": False},
        {"prefix": True, "range_end": "c"},
        {"key": ""},
    ],
)
def test_what_could_never_be_seen_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        checked(**wrong)


def test_ranges_are_named_in_three_ways() -> None:
    assert (checked().key, checked().range_end) == (b"b", b"")
    assert checked(prefix=True).range_end == b"c"
    assert checked(range_end="d").range_end == b"d"
    everything = checked(key="", prefix=True)
    assert (everything.key, everything.range_end) == (EVERYTHING, EVERYTHING)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError):
        watch_over(FakePort(), on_compacted="skip")
