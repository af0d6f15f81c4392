"""A bare hand on the wire: requests as protobuf messages over a plain gRPC channel, nothing of coord's client.

Only the message classes and method paths are coord's; the suite judges both servers and those.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from coord.wire import methods, rpc_pb2
from coord.wire.mvcc_pb2 import Event, KeyValue
from tests.servers import ServerProcess

PATIENCE = 10.0
"""Seconds after which something that was waited for counts as missing."""

_CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]

KeyValues = list[tuple[bytes, bytes]]
Metadata = tuple[tuple[str, str], ...]


def pairs(kvs: Iterable[KeyValue]) -> KeyValues:
    """Key and value of each record."""
    return [(kv.key, kv.value) for kv in kvs]


def keys(kvs: Iterable[KeyValue]) -> list[bytes]:
    """Key of each record."""
    return [kv.key for kv in kvs]


def end_of(prefix: bytes) -> bytes:
    """Range end of a prefix that does not end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


@contextmanager
def refused(expected: tuple[grpc.StatusCode, str]) -> Iterator[None]:
    """The block ends with exactly this gRPC code and text."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert (caught.value.code(), caught.value.details()) == expected


class Stream:
    """One bidirectional call; responses are read by a thread so that waiting for them can end."""

    _END = object()

    def __init__(self, channel: grpc.Channel, method: methods.Method, metadata: Metadata = ()) -> None:
        self._outgoing: queue.Queue[Any] = queue.Queue()
        self._incoming: queue.Queue[Any] = queue.Queue()
        make = channel.stream_stream(method.path, _encode, method.response.FromString)
        self.call = make(iter(self._outgoing.get, self._END), metadata=metadata, timeout=120)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self._incoming.put(response)
        except grpc.RpcError:
            pass  # the status is read with status()
        self._incoming.put(self._END)

    def send(self, request: Any) -> None:
        """Send one request."""
        self._outgoing.put(request)

    def receive(self, seconds: float = PATIENCE) -> Any:
        """The next response."""
        try:
            response = self._incoming.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"no response in {seconds} s")
        if response is self._END:
            self._incoming.put(self._END)
            pytest.fail(f"the stream ended: {self.call.code()} {self.call.details()}")
        return response

    def half_close(self) -> None:
        """End the request side."""
        self._outgoing.put(self._END)

    def status(self) -> tuple[grpc.StatusCode, str]:
        """Wait for the end of the stream; its code and text. Unread responses are dropped."""
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "the stream does not end"
        return self.call.code(), self.call.details()

    def close(self) -> None:
        """Cancel the call and wait for its reader."""
        self._outgoing.put(self._END)
        self.call.cancel()
        self._reader.join(PATIENCE)


class WatchStream(Stream):
    """The Watch call with its three requests."""

    def request_create(self, key: bytes, end: bytes = b"", **fields: Any) -> None:
        """Ask for a watcher; the answer is for the caller to receive."""
        create = rpc_pb2.WatchCreateRequest(key=key, range_end=end, **fields)
        self.send(rpc_pb2.WatchRequest(create_request=create))

    def create(self, key: bytes, end: bytes = b"", **fields: Any) -> rpc_pb2.WatchResponse:
        """Ask for a watcher and receive the created reply."""
        self.request_create(key, end, **fields)
        reply = self.receive()
        assert reply.created
        return reply

    def cancel(self, watch_id: int) -> None:
        """Ask to cancel a watcher."""
        self.send(rpc_pb2.WatchRequest(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=watch_id)))

    def progress(self) -> None:
        """Ask for progress."""
        self.send(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))

    def events(self, count: int) -> list[Event]:
        """Receive responses until they hold `count` events."""
        got: list[Event] = []
        while len(got) < count:
            got += self.receive().events
        assert len(got) == count, got
        return got


class Wire:
    """A channel to one server and its unary calls."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.kind = server.kind
        self.channel = grpc.insecure_channel(server.target, options=_CHANNEL_OPTIONS)
        self._streams: list[Stream] = []

    def close(self) -> None:
        """End all streams and the channel."""
        self.close_streams()
        self.channel.close()

    def close_streams(self) -> None:
        """End all streams that are still open."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def call(self, method: methods.Method, request: Any, *, timeout: float = PATIENCE, metadata: Any = ()) -> Any:
        """One unary call."""
        made = self.channel.unary_unary(method.path, _encode, method.response.FromString)
        return made(request, timeout=timeout, metadata=metadata, wait_for_ready=True)

    def stream(self, method: methods.Method, metadata: Metadata = ()) -> Stream:
        """One bidirectional call, closed with the test."""
        made = (WatchStream if method is methods.WATCH else Stream)(self.channel, method, metadata)
        self._streams.append(made)
        return made

    def watch(self, metadata: Metadata = ()) -> WatchStream:
        """A new watch stream."""
        made = self.stream(methods.WATCH, metadata)
        assert isinstance(made, WatchStream)
        return made

    def range(self, key: bytes, end: bytes = b"", **fields: Any) -> rpc_pb2.RangeResponse:
        """KV.Range."""
        return self.call(methods.KV_RANGE, rpc_pb2.RangeRequest(key=key, range_end=end, **fields))

    def get(self, key: bytes, **fields: Any) -> KeyValue:
        """KV.Range of one key that exists."""
        [kv] = self.range(key, **fields).kvs
        return kv

    def put(self, key: bytes, value: bytes = b"", **fields: Any) -> rpc_pb2.PutResponse:
        """KV.Put."""
        return self.call(methods.KV_PUT, rpc_pb2.PutRequest(key=key, value=value, **fields))

    def delete(self, key: bytes, end: bytes = b"", **fields: Any) -> rpc_pb2.DeleteRangeResponse:
        """KV.DeleteRange."""
        return self.call(methods.KV_DELETE_RANGE, rpc_pb2.DeleteRangeRequest(key=key, range_end=end, **fields))

    def txn(
        self,
        compare: Sequence[rpc_pb2.Compare] = (),
        success: Sequence[rpc_pb2.RequestOp] = (),
        failure: Sequence[rpc_pb2.RequestOp] = (),
    ) -> rpc_pb2.TxnResponse:
        """KV.Txn."""
        return self.call(methods.KV_TXN, rpc_pb2.TxnRequest(compare=compare, success=success, failure=failure))

    def compact(self, revision: int, *, physical: bool = False) -> rpc_pb2.CompactionResponse:
        """KV.Compact."""
        return self.call(methods.KV_COMPACT, rpc_pb2.CompactionRequest(revision=revision, physical=physical))

    def revision(self) -> int:
        """Current store revision."""
        return self.range(b"\0").header.revision

    def grant(self, ttl: int, lease: int = 0) -> rpc_pb2.LeaseGrantResponse:
        """Lease.LeaseGrant."""
        return self.call(methods.LEASE_GRANT, rpc_pb2.LeaseGrantRequest(TTL=ttl, ID=lease))

    def revoke(self, lease: int) -> rpc_pb2.LeaseRevokeResponse:
        """Lease.LeaseRevoke."""
        return self.call(methods.LEASE_REVOKE, rpc_pb2.LeaseRevokeRequest(ID=lease))

    def time_to_live(self, lease: int, *, keys: bool = False) -> rpc_pb2.LeaseTimeToLiveResponse:
        """Lease.LeaseTimeToLive."""
        return self.call(methods.LEASE_TIME_TO_LIVE, rpc_pb2.LeaseTimeToLiveRequest(ID=lease, keys=keys))

    def leases(self) -> list[int]:
        """Lease.LeaseLeases: the ids."""
        return [status.ID for status in self.call(methods.LEASE_LEASES, rpc_pb2.LeaseLeasesRequest()).leases]

    def status(self) -> rpc_pb2.StatusResponse:
        """Maintenance.Status."""
        return self.call(methods.STATUS, rpc_pb2.StatusRequest())

    def alarm(self, action: int = 0, member: int = 0, alarm: int = 0) -> rpc_pb2.AlarmResponse:
        """Maintenance.Alarm."""
        request = rpc_pb2.AlarmRequest(action=action, memberID=member, alarm=alarm)  # type: ignore[arg-type] # by number
        return self.call(methods.ALARM, request)


def _encode(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def op_range(key: bytes, end: bytes = b"", **fields: Any) -> rpc_pb2.RequestOp:
    """A range inside a transaction."""
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key, range_end=end, **fields))


def op_put(key: bytes, value: Any = b"", **fields: Any) -> rpc_pb2.RequestOp:
    """A put inside a transaction."""
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, **fields))


def op_delete(key: bytes, end: bytes = b"", **fields: Any) -> rpc_pb2.RequestOp:
    """A delete inside a transaction."""
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key, range_end=end, **fields))


def op_txn(
    compare: Sequence[rpc_pb2.Compare] = (),
    success: Sequence[rpc_pb2.RequestOp] = (),
    failure: Sequence[rpc_pb2.RequestOp] = (),
) -> rpc_pb2.RequestOp:
    """A transaction inside a transaction."""
    return rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(compare=compare, success=success, failure=failure))


_RESULTS = {"=": 0, ">": 1, "<": 2, "!=": 3}


def compare(key: bytes, target: str, result: str, operand: int | bytes, end: bytes = b"") -> rpc_pb2.Compare:
    """A comparison: ``compare(b"k", "version", ">", 0)``; target is the name of the operand's field."""
    number = ["version", "create_revision", "mod_revision", "value", "lease"].index(target)
    fields: dict[str, Any] = {target: operand, "target": number, "result": _RESULTS[result]}
    return rpc_pb2.Compare(key=key, range_end=end, **fields)


def response_of(op: rpc_pb2.ResponseOp) -> Any:
    """The message inside a response of a transaction."""
    name = op.WhichOneof("response")
    assert name is not None
    return getattr(op, name)
