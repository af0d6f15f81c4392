"""The handler table: what happens around every handler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from coord import statuses
from coord.server.member.pending import Pending
from coord.server.transport.context import ANONYMOUS, Context, Identity, PeerGone
from coord.server.transport.health import Health
from coord.server.transport.table import Row, Table, decode
from coord.statuses import Refused, Status
from coord.wire import methods, rpc_pb2

BAD = b"\x0a\xff"
PUT = rpc_pb2.PutRequest(key=b"k", value=b"v").SerializeToString()


class FakeCall:
    """A transport's call."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self.metadata = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return self.metadata

    def peer(self) -> str:
        return "test:1"

    def time_remaining(self) -> float | None:
        return 3.0


class FakeStream:
    """A stream whose requests are given and whose answers are kept."""

    def __init__(self, *requests: Any) -> None:
        self.requests = list(requests)
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self.requests.pop(0) if self.requests else None

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def answer_of(handler: Any, raw: bytes = PUT, *, call: FakeCall | None = None, **settings: Any) -> Any:
    row = Row(methods.KV_PUT, handler)
    table = Table([row])
    for name, value in settings.items():
        setattr(table, name, value)
    return table.unary(row)(call or FakeCall(), raw)


def status_of(handler: Any, *args: Any, **settings: Any) -> Status:
    with pytest.raises(Refused) as caught:
        answer_of(handler, *args, **settings)
    return caught.value.status


def never(ctx: Context, request: Any) -> bytes:
    raise AssertionError("the handler must not run")


def test_a_handler_gets_the_parsed_request() -> None:
    seen: list[Any] = []

    def handler(ctx: Context, request: Any) -> bytes:
        seen.append(request)
        return b"answer"

    assert answer_of(handler) == b"answer"
    assert (seen[0].key, seen[0].value) == (b"k", b"v")


def test_a_message_is_encoded_for_the_adapter() -> None:
    made = rpc_pb2.PutResponse(header=rpc_pb2.ResponseHeader(revision=7))
    assert answer_of(lambda ctx, request: made) == made.SerializeToString()


def test_a_pending_is_handed_on_as_it_is() -> None:
    pending: Pending[bytes] = Pending()
    assert answer_of(lambda ctx, request: pending) is pending


def test_bytes_that_are_no_request_are_internal() -> None:
    assert status_of(never, BAD).code == statuses.INTERNAL


def test_the_same_holds_for_the_messages_of_streams() -> None:
    with pytest.raises(Refused) as caught:
        decode(Row(methods.WATCH, never), BAD)
    assert caught.value.status.code == statuses.INTERNAL


def test_while_the_server_does_not_serve_calls_are_told_that_nothing_happened() -> None:
    assert status_of(never, serving=False) == statuses.NO_LEADER


def test_who_wants_a_leader_is_told_that_there_is_none() -> None:
    call = FakeCall(("hasleader", "true"))
    assert status_of(never, call=call, leaderless=lambda: True) == statuses.NO_LEADER


@pytest.mark.parametrize("value", ["false", "TRUE", ""])
def test_who_does_not_want_one_is_served_without(value: str) -> None:
    call = FakeCall(("hasleader", value))
    assert answer_of(lambda ctx, request: b"x", call=call, leaderless=lambda: True) == b"x"


def test_the_gate_says_who_calls_before_the_handler_runs() -> None:
    class Gate:
        def admit(self, ctx: Context, row: Row, request: Any) -> None:
            ctx.identity = Identity("alice", 3)

    seen: list[Identity] = []

    def handler(ctx: Context, request: Any) -> bytes:
        seen.append(ctx.identity)
        return b""

    answer_of(handler, gate=Gate())
    assert seen == [Identity("alice", 3)]


def test_the_gate_may_refuse() -> None:
    class Gate:
        def admit(self, ctx: Context, row: Row, request: Any) -> None:
            raise Refused(statuses.PERMISSION_DENIED_STATUS)

    assert status_of(never, gate=Gate()) == statuses.PERMISSION_DENIED_STATUS


def test_a_context_knows_its_call() -> None:
    ctx = Context(FakeCall(("a", "1"), ("a", "2"), ("b-bin", b"\0")))
    assert ctx.metadata == {"a": "1", "b-bin": b"\0"}
    assert (ctx.peer, ctx.remaining, ctx.identity) == ("test:1", 3.0, ANONYMOUS)
    assert Context(FakeCall()).request_id != ctx.request_id


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etcdserverpb.KV/Nonsense", "unknown method Nonsense for service etcdserverpb.KV"),
        ("/etcdserverpb.Maintenance/Snapshot", "unknown method Snapshot for service etcdserverpb.Maintenance"),
        ("/no.Such/Method", "unknown service no.Such"),
        ("/x", "unknown service "),
    ],
)
def test_paths_without_a_row(path: str, text: str) -> None:
    assert Table([Row(methods.KV_PUT, never)]).unknown(path) == Status(statuses.UNIMPLEMENTED, text)


def test_calls_are_counted_by_code() -> None:
    row = Row(methods.KV_PUT, lambda ctx, request: b"")
    table = Table([row])
    table.unary(row)(FakeCall(), PUT)
    table.settle(row, statuses.OK, 0.01)
    table.settle(row, statuses.NOT_FOUND, 0.02)
    assert row.figures.started == 1
    assert row.figures.codes == {statuses.OK: 1, statuses.NOT_FOUND: 1}
    assert row.figures.seconds.count == 2


def test_streams_are_counted_while_they_are_open() -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def handler(ctx: Context, stream: Any) -> None:
            await release.wait()

        row = Row(methods.WATCH, handler)
        table = Table([row])
        running = asyncio.create_task(table.stream(row, Context(FakeCall()), FakeStream()))
        await asyncio.sleep(0)
        assert (table.streams, row.figures.open) == (1, 1)
        release.set()
        await running
        assert (table.streams, row.figures.open) == (0, 0)
        assert row.figures.codes == {statuses.OK: 1}

    asyncio.run(scenario())


def test_every_open_stream_is_told_to_end() -> None:
    async def scenario() -> None:
        async def handler(ctx: Context, stream: Any) -> None:
            await asyncio.Event().wait()

        row = Row(methods.WATCH, handler)
        table = Table([row])
        contexts = [Context(FakeCall()) for _ in range(3)]
        running = [asyncio.create_task(table.stream(row, ctx, FakeStream())) for ctx in contexts]
        for ctx, task in zip(contexts, running, strict=True):
            ctx.on_end(task.cancel)
        await asyncio.sleep(0)
        table.end_streams(statuses.STOPPED)
        table.end_streams(statuses.NO_LEADER)
        await asyncio.gather(*running, return_exceptions=True)
        assert [ctx.ended for ctx in contexts] == [statuses.STOPPED] * 3, "the first status counts"
        assert all(ctx.cancelled for ctx in contexts)
        assert table.streams == 0

    asyncio.run(scenario())


def test_a_stream_that_is_refused_counts_its_code() -> None:
    async def scenario() -> None:
        async def handler(ctx: Context, stream: Any) -> None:
            raise Refused(statuses.LEASE_NOT_FOUND)

        row = Row(methods.WATCH, handler)
        with pytest.raises(Refused):
            await Table([row]).stream(row, Context(FakeCall()), FakeStream())
        assert row.figures.codes == {statuses.NOT_FOUND: 1}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("ending", "code"), [(PeerGone(), statuses.CANCELLED), (ValueError("a defect"), statuses.INTERNAL)]
)
def test_other_ends_of_streams_are_counted_as_what_they_are(ending: Exception, code: int) -> None:
    async def scenario() -> None:
        async def handler(ctx: Context, stream: Any) -> None:
            raise ending

        row = Row(methods.WATCH, handler)
        with pytest.raises(type(ending)):
            await Table([row]).stream(row, Context(FakeCall()), FakeStream())
        assert row.figures.codes == {code: 1}

    asyncio.run(scenario())


def test_calls_are_counted_by_the_version_of_the_client() -> None:
    row = Row(methods.KV_PUT, lambda ctx, request: b"")
    table = Table([row])
    for metadata in ([("client-api-version", "3.5.1")], [("client-api-version", "3.5.1")], [("other", "x")], []):
        table.unary(row)(FakeCall(*metadata), PUT)
    assert table.versions == {"3.5.1": 2, "unknown": 2}


def test_a_client_that_says_always_another_version_does_not_fill_the_memory() -> None:
    row = Row(methods.KV_PUT, lambda ctx, request: b"")
    table = Table([row])
    for number in range(300):
        table.unary(row)(FakeCall(("client-api-version", f"v{number}")), PUT)
    table.unary(row)(FakeCall(("client-api-version", "v0")), PUT)
    assert table.versions["v0"] == 2
    assert table.versions["other"] == 200
    assert len(table.versions) <= 101


def test_a_version_that_is_no_text_is_refused() -> None:
    call = FakeCall(("client-api-version", b"\xff"))
    assert status_of(never, call=call) == statuses.INVALID_CLIENT_API_VERSION


# --- health

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def test_health_says_whether_the_server_serves() -> None:
    async def scenario() -> None:
        health = Health()
        table = Table(health.rows())
        check = table.unary(table.rows[CHECK])
        assert check(FakeCall(), b"") == b"\x08\x02"
        health.change(True)
        assert check(FakeCall(), b"") == b"\x08\x01"

    asyncio.run(scenario())


def test_health_is_answered_while_the_server_stops_and_without_a_leader() -> None:
    async def scenario() -> None:
        table = Table(Health().rows())
        table.serving = False
        table.leaderless = lambda: True
        assert table.unary(table.rows[CHECK])(FakeCall(("hasleader", "true")), b"") == b"\x08\x02"

    asyncio.run(scenario())


def test_health_of_a_service_is_unknown() -> None:
    async def scenario() -> None:
        table = Table(Health().rows())
        with pytest.raises(Refused) as caught:
            table.unary(table.rows[CHECK])(FakeCall(), b"\x0a\x01x")
        assert caught.value.status == Status(statuses.NOT_FOUND, "unknown service")

    asyncio.run(scenario())


def test_health_can_be_watched() -> None:
    async def scenario() -> None:
        health = Health()
        table = Table(health.rows())
        row = table.rows[WATCH]
        stream = FakeStream(decode(row, b""))
        running = asyncio.create_task(table.stream(row, Context(FakeCall()), stream))
        for state in (True, True, False):
            await asyncio.sleep(0)
            health.change(state)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert stream.sent == [b"\x08\x02", b"\x08\x01", b"\x08\x02"]

    asyncio.run(scenario())
