"""The two writing operations, alone or inside of a transaction: store and lease attachments change together."""

from __future__ import annotations

from coord.server.machine.lessor import Lessor
from coord.server.machine.ranges import bounds
from coord.server.mvcc.records import record_lease, record_value
from coord.server.mvcc.store import Store
from coord.statuses import KEY_NOT_FOUND, Refused
from coord.wire import rpc_pb2 as pb


class Writer:
    """Puts and deletes; the checks are asked for all puts of a request before the first of them is done."""

    def __init__(self, store: Store, lessor: Lessor) -> None:
        self._store = store
        self._lessor = lessor

    def check_lease(self, request: pb.PutRequest) -> None:
        """Refuse a put whose lease does not exist.

        Raises:
            Refused: LEASE_NOT_FOUND.
        """
        if request.lease:
            self._lessor.check(request.lease)

    def check_existing(self, request: pb.PutRequest) -> None:
        """Refuse a put that wants to keep the value or lease of a key that does not exist.

        Raises:
            Refused: KEY_NOT_FOUND.
        """
        if (request.ignore_value or request.ignore_lease) and request.key not in self._store.index.live:
            raise Refused(KEY_NOT_FOUND)

    def put(self, request: pb.PutRequest) -> bytes | None:
        """Do a put that was checked; returns the record it replaces if the request wants that."""
        store = self._store
        key, value, lease = request.key, request.value, request.lease
        previous = None
        if request.prev_kv:
            previous = store.get(key)
        if request.ignore_value or request.ignore_lease:
            value, lease = self._kept(request)
        store.put(key, value, lease)
        if lease:
            self._lessor.attach(lease, key)
        else:
            self._lessor.detach(key)
        return previous

    def _kept(self, request: pb.PutRequest) -> tuple[bytes, int]:
        """Value and lease of a put that keeps one of them or both.

        A delete earlier in the same transaction may have taken the key since it was checked; etcd panics then, here it
        counts as a key without value and lease.
        """
        record = self._store.get(request.key)
        value, lease = (b"", 0) if record is None else (record_value(record), record_lease(record))
        return value if request.ignore_value else request.value, lease if request.ignore_lease else request.lease

    def delete_range(self, request: pb.DeleteRangeRequest) -> tuple[int, list[bytes]]:
        """Delete a range; returns how many keys went, and their records if the request wants those."""
        store = self._store
        if request.range_end:
            keys = store.index.select(*bounds(request.key, request.range_end))
        else:
            keys = [request.key] if request.key in store.index.live else []
        previous = store.get_many(keys) if request.prev_kv else []
        self.delete(keys)
        return len(keys), previous

    def delete(self, keys: list[bytes]) -> None:
        """Delete live keys, in the order given."""
        for key in keys:
            self._store.delete(key)
            self._lessor.detach(key)
