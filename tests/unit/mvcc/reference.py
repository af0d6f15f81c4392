"""A store that keeps everything and computes nothing cleverly: what the real one is compared with."""

from __future__ import annotations

from typing import NamedTuple

from coord.server.mvcc.records import encode_record, encode_tombstone
from coord.server.mvcc.store import Store
from coord.server.storage.memory import MemoryBackend


class Value(NamedTuple):
    create: int
    mod: int
    version: int
    value: bytes
    lease: int


class Happened(NamedTuple):
    """One change; `previous` is what the key was before the revision began."""

    main: int
    key: bytes
    record: bytes
    deleted: bool
    previous: bytes | None


class Reference:
    """Every state there ever was, and every change."""

    def __init__(self) -> None:
        self.states: list[dict[bytes, Value]] = [{}, {}]  # by revision; a fresh store is at 1
        self.log: list[Happened] = []
        self.compacted = -1
        self._now: dict[bytes, Value] = {}
        self._changes: list[Happened] = []

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def put(self, key: bytes, value: bytes, lease: int = 0) -> None:
        old = self._now.get(key)
        main = self.revision + 1
        new = Value(old.create if old else main, main, old.version + 1 if old else 1, value, lease)
        self._now[key] = new
        self._changes.append(Happened(main, key, encode(key, new), False, self.record(key, self.revision)))

    def delete(self, key: bytes) -> None:
        del self._now[key]
        main = self.revision + 1
        self._changes.append(Happened(main, key, encode_tombstone(key), True, self.record(key, self.revision)))

    def commit(self) -> None:
        if self._changes:
            self.states.append(dict(self._now))
            self.log.extend(self._changes)
            self._changes = []

    def live(self) -> list[bytes]:
        return sorted(self._now)

    def now(self) -> list[bytes]:
        """Records of all live keys, changes of the transaction in progress included."""
        return [encode(key, self._now[key]) for key in self.live()]

    def record(self, key: bytes, revision: int) -> bytes | None:
        value = self.states[revision].get(key)
        return None if value is None else encode(key, value)

    def range(self, start: bytes, end: bytes | None, revision: int) -> list[bytes]:
        state = self.states[revision]
        return [encode(key, state[key]) for key in sorted(state) if start <= key and (end is None or key < end)]


def encode(key: bytes, value: Value) -> bytes:
    return encode_record(key, value.create, value.mod, value.version, value.value, value.lease)


def read(store: Store, start: bytes, end: bytes | None, revision: int) -> list[bytes]:
    """A range of the real store at a revision, the plain way."""
    return store.find_many(store.index.known(start, end), revision)


def restored(backend: MemoryBackend) -> Store:
    """The store that a new process would build from the backend."""
    store = Store(backend)
    for _ in store.load():
        pass
    return store
