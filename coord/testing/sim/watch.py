"""Watches in the simulator: the server's own watch streams, and a network in which each response is on its way.

Every watcher has a stream of its own, so that one may lag while another does not. A lost stream is asked for again from
the revision after the last one delivered, as the client's watch machine does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from coord.client.watch.actions import WatchSpec
from coord.client.watch.inbox import Inbox
from coord.errors import Compacted, CoordError
from coord.model import WatchBatch
from coord.wire import rpc_pb2
from coord.wire.watch import create_request, read_reply

if TYPE_CHECKING:
    from coord.server.mvcc.streams import WatchStream
    from coord.testing.sim.server import SimServer


class SimWatcher:
    """One watcher.

    Attributes:
        stream: the server's side, None while it does not know of it.
        next_revision: what to resume at; 0 for from now on.
    """

    __slots__ = ("inbox", "next_revision", "spec", "stream", "token")

    def __init__(self, token: int, spec: WatchSpec, inbox: Inbox) -> None:
        self.token = token
        self.spec = spec
        self.inbox = inbox
        self.stream: WatchStream | None = None
        self.next_revision = spec.from_revision

    @property
    def registered(self) -> bool:
        """The server knows of it."""
        return self.stream is not None

    @property
    def under_way(self) -> bool:
        """A response is on its way."""
        return self.stream is not None and len(self.stream) > 0

    def request(self) -> rpc_pb2.WatchCreateRequest:
        """What is asked of the server."""
        spec = self.spec
        return create_request(
            spec.key, spec.range_end, self.next_revision, puts=spec.puts, deletes=spec.deletes
        ).create_request


class SimHub:
    """The watches of one client. See `coord.client.ports.base.Hub`.

    `on_woken` is called while a commit puts a response on its way to a watcher.
    """

    def __init__(self, server: SimServer, on_woken: Callable[[SimWatcher], None]) -> None:
        self._server = server
        self._on_woken = on_woken
        self.watchers: dict[int, SimWatcher] = {}
        self._tokens = 0

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        """Start a watcher; returns its token."""
        self._tokens += 1
        self.watchers[self._tokens] = SimWatcher(self._tokens, spec, inbox)
        return self._tokens

    def drop(self, tokens: Sequence[int]) -> None:
        """End watchers."""
        for token in tokens:
            watcher = self.watchers.pop(token, None)
            if watcher is not None and watcher.stream is not None:
                watcher.stream.close()

    def consumed(self, token: int, size: int) -> None:
        """Nothing is bounded here."""

    def lag(self) -> float:
        """The virtual server always gives signs of life."""
        return 0.0

    def trouble(self) -> CoordError | None:
        """Nothing stays wrong here."""
        return None

    # --- what the world does with them

    def register(self, watcher: SimWatcher) -> None:
        """The request reaches the server: everything from its revision on is on its way."""
        watcher.stream = self._server.watch(watcher.request(), partial(self._woken, watcher))
        created = rpc_pb2.WatchResponse.FromString(watcher.stream.pop() or b"")
        # A watcher from now on is pinned, so that nothing is missed when its stream is lost.
        watcher.next_revision = watcher.next_revision or created.header.revision + 1

    def _woken(self, watcher: SimWatcher) -> None:
        if watcher.stream is not None:
            self._on_woken(watcher)

    def deliver(self, watcher: SimWatcher) -> None:
        """The next response reaches the reader."""
        if watcher.stream is None:
            return
        reply = read_reply(rpc_pb2.WatchResponse.FromString(watcher.stream.pop() or b""))
        if reply.canceled:
            self.drop([watcher.token])
            watcher.inbox.fail(Compacted(reply.reason, compact_revision=reply.compact_revision))
            return
        for revision, events in groupby(reply.events, lambda event: event.item.mod_revision):
            watcher.next_revision = revision + 1
            watcher.inbox.push(watcher.token, WatchBatch(revision, tuple(events)))

    def disconnect(self) -> None:
        """The streams are lost; every watcher is asked for again from where it was."""
        for watcher in self.watchers.values():
            watcher.stream = None
