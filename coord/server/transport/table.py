"""The handler table: what the server answers, under which conditions, apart from any transport.

A unary handler is a plain function ``handler(ctx, request) -> message | bytes | Pending``. A stream handler is
``async handler(ctx, stream)``; for a server stream the request is the first message received. What holds for every
call (leader, authentication, figures, slow-call lines) is done here once; handlers do what is their own.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from coord import statuses
from coord.server.logs import logger
from coord.server.member.figures import Histogram
from coord.server.member.pending import Pending
from coord.server.transport.context import Call, Context, PeerGone
from coord.statuses import Refused, Status
from coord.wire.methods import METHODS, Method

_log = logger(__name__)

_VERSIONS_MAX = 100
"""A client may say anything; what it says must not fill the memory."""

_SECONDS = tuple(0.0001 * 2**n for n in range(17))


class Rule(enum.Enum):
    """What the caller must be allowed to do, once authentication is on."""

    NONE = "nobody is asked"
    USER = "any authenticated user"
    KEYS = "permissions on the keys of the request"
    LEASE = "permissions on the keys of the lease"
    ADMIN = "role root"


@dataclass(slots=True)
class RowFigures:
    """What is counted of one method."""

    started: int = 0
    open: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(_SECONDS))


@dataclass(slots=True)
class Row:
    """One method that the server answers.

    Attributes:
        method: path, messages and kind.
        handler: see the module text.
        rule: what the caller must be allowed to do.
        needs_leader: False for what a member answers alone; only clients that ask for a leader are refused then.
        writes: it may change the store.
        always: answered while the server starts and stops, too.
    """

    method: Method
    handler: Callable[..., Any]
    rule: Rule = Rule.NONE
    needs_leader: bool = True
    writes: bool = False
    always: bool = False
    figures: RowFigures = field(default_factory=RowFigures)


class Gate(Protocol):
    """Decides who calls and whether he may; authentication is one."""

    def admit(self, ctx: Context, row: Row, request: Any) -> None:
        """Set ``ctx.identity``.

        Raises:
            Refused: the call is not allowed.
        """
        ...


class Table:
    """Every method the server answers, by path.

    Attributes:
        rows: the rows by path.
        gate: asked before every handler, None lets everybody in.
        leaderless: True while no leader is known.
        slow_seconds: a unary call that takes longer is logged.
        serving: False before the start and while stopping; calls are refused then.
        refused: calls refused because of that.
        versions: calls by the version that clients say they speak, "unknown" for those that say nothing and "other"
            once too many different ones were said.
    """

    def __init__(self, rows: Iterable[Row], *, slow_seconds: float = 0.3) -> None:
        self.rows: dict[str, Row] = {row.method.path: row for row in rows}
        self.gate: Gate | None = None
        self.leaderless: Callable[[], bool] = _never
        self.slow_seconds = slow_seconds
        self.serving = True
        self.refused = 0
        self.versions: Counter[str] = Counter()
        self._streams: set[Context] = set()

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    @property
    def streams(self) -> int:
        """Streams open now."""
        return len(self._streams)

    def end_streams(self, status: Status, *, wanting_leader: bool = False) -> None:
        """End every stream with `status`, or only those whose clients asked for a leader."""
        for ctx in tuple(self._streams):
            if not wanting_leader or ctx.wants_leader:
                ctx.end(status)

    def unknown(self, path: str) -> Status:
        """The status for a path that is in no row.

        Source: grpc-go server.go handleStream.
        """
        service, _, name = path.removeprefix("/").rpartition("/")
        known = {one.rpartition("/")[0] for one in (*self.rows, *METHODS)}
        if f"/{service}" in known:
            return Status(statuses.UNIMPLEMENTED, f"unknown method {name} for service {service}")
        return Status(statuses.UNIMPLEMENTED, f"unknown service {service}")

    def unary(self, row: Row) -> Callable[[Call, bytes], Any]:
        """The whole of a unary call for an adapter: ``call(transport's call, encoded request)``.

        It returns the encoded response, or a pending whose result is one or a message. `settle` must be told how a
        pending ended.

        Raises (the returned function):
            Refused: the call ends with this status.
        """
        handler, figures = row.handler, row.figures

        def call(transport: Call, raw: bytes) -> Any:
            figures.started += 1
            request = decode(row, raw)
            self._count_version(transport)
            ctx = Context(transport)
            if not self.serving or self.leaderless() or self.gate is not None:
                self.admit(ctx, row, request)
            answer = handler(ctx, request)
            if answer.__class__ is bytes or isinstance(answer, Pending):
                return answer
            return answer.SerializeToString()

        return call

    def admit(self, ctx: Context, row: Row, request: Any) -> None:
        """Check what holds for every call.

        Raises:
            Refused: the server stops, has no leader, or the caller is not allowed.
        """
        if not self.serving and not row.always:
            self.refused += 1
            # Not STOPPED, which etcd also says to requests that may have been done: this one surely was not, and a
            # client that is told so sends it elsewhere instead of asking its user what happened.
            raise Refused(statuses.NO_LEADER)
        if row.needs_leader and self.leaderless() and ctx.wants_leader:
            raise Refused(statuses.NO_LEADER)
        if self.gate is not None:
            self.gate.admit(ctx, row, request)

    def _count_version(self, transport: Call) -> None:
        version: str | bytes = "unknown"
        for key, value in transport.invocation_metadata() or ():
            if key == "client-api-version":
                version = value
                break
        if isinstance(version, bytes):
            raise Refused(statuses.INVALID_CLIENT_API_VERSION)
        if version not in self.versions and len(self.versions) >= _VERSIONS_MAX:
            version = "other"
        self.versions[version] += 1

    def settle(self, row: Row, code: int, seconds: float) -> None:
        """Count one finished unary call, and log it if it was slow."""
        row.figures.codes[code] += 1
        row.figures.seconds.observe(seconds)
        if seconds > self.slow_seconds:
            _log.warning("request stats", method=row.method.path, took=f"{seconds * 1000:.1f}ms", code=code)

    async def stream(self, row: Row, ctx: Context, stream: Any) -> None:
        """The whole of a stream for an adapter.

        Raises:
            Refused: the stream ends with this status.
        """
        figures = row.figures
        figures.started += 1
        figures.open += 1
        self._streams.add(ctx)
        code = statuses.OK
        try:
            self._count_version(ctx.call)
            self.admit(ctx, row, None)
            await row.handler(ctx, stream)
        except Refused as refused:
            code = refused.status.code
            raise
        except (asyncio.CancelledError, PeerGone):
            code = statuses.CANCELLED if ctx.ended is None else ctx.ended.code
            raise
        except BaseException:
            code = statuses.INTERNAL
            raise
        finally:
            ctx.cancelled = True
            self._streams.discard(ctx)
            figures.open -= 1
            figures.codes[code] += 1


def decode(row: Row, raw: bytes) -> Any:
    """A request from its bytes.

    Raises:
        Refused: they are no message of the method.
    """
    try:
        return row.method.request.FromString(raw)
    except DecodeError:
        name = row.method.request.DESCRIPTOR.name
        text = f"grpc: error unmarshalling request: the bytes are no {name}"
        raise Refused(Status(statuses.INTERNAL, text)) from None


def _never() -> bool:
    return False
