"""A store with a hub, and requests and responses of watch streams in short form."""

from __future__ import annotations

from collections.abc import Iterable

from coord.server.mvcc.records import varint
from coord.server.mvcc.store import Store
from coord.server.mvcc.streams import WatchStream
from coord.server.mvcc.watchers import WatchHub
from coord.server.storage.memory import MemoryBackend
from coord.wire.rpc_pb2 import WatchCreateRequest, WatchResponse

CLUSTER = 77


def header(revision: int) -> bytes:
    text = b"\x08" + varint(CLUSTER) + (b"\x18" + varint(revision) if revision else b"")
    return b"\n" + varint(len(text)) + text


class Watched:
    """What the tests drive."""

    def __init__(self, *, max_response_bytes: int = 1 << 21) -> None:
        self.backend = MemoryBackend()
        self.store = Store(self.backend)
        self.hub = WatchHub(self.store, header, max_response_bytes=max_response_bytes)
        self.wakes = 0

    def open(self) -> WatchStream:
        return self.hub.open(self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def put(self, key: bytes, value: bytes = b"v") -> int:
        self.store.put(key, value, 0)
        return self.store.commit()

    def delete(self, *keys: bytes) -> int:
        for key in keys:
            self.store.delete(key)
        return self.store.commit()

    def settle(self) -> None:
        """Catch up as far as possible."""
        while self.hub.catch_up():
            self.hub.check()
        self.hub.check()


def create(key: bytes = b"", range_end: bytes = b"", filters: Iterable[int] = (), **fields: int) -> WatchCreateRequest:
    request = WatchCreateRequest(key=key, range_end=range_end, **fields)  # type: ignore[arg-type]  # options by name
    request.filters.extend(filters)  # type: ignore[arg-type]  # options by name
    return request


def responses(stream: WatchStream) -> list[WatchResponse]:
    """Everything that waits."""
    out = []
    while (encoded := stream.pop()) is not None:
        out.append(WatchResponse.FromString(encoded))
    return out


def told(stream: WatchStream) -> list[str]:
    """Everything that waits, in one line each."""
    return [line(response) for response in responses(stream)]


def line(response: WatchResponse) -> str:
    parts = [f"{response.watch_id}@{response.header.revision}"]
    parts += [name for name in ("created", "canceled", "fragment") if getattr(response, name)]
    if response.compact_revision:
        parts.append(f"compacted={response.compact_revision}")
    if response.cancel_reason:
        parts.append(f"because {response.cancel_reason!r}")
    for event in response.events:
        text = f"{'DELETE' if event.type else 'PUT'} {event.kv.key.decode()}@{event.kv.mod_revision}"
        if event.HasField("prev_kv"):
            text += f" was @{event.prev_kv.mod_revision}"
        parts.append(text)
    return " ".join(parts)
