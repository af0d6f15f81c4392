"""Watch requests and replies: the messages of one stream, to and from plain values. No policy here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coord.model import Event, EventKind, Header
from coord.wire import convert, mvcc_pb2, rpc_pb2

_DELETE = mvcc_pb2.Event.DELETE
_NO_PUT = rpc_pb2.WatchCreateRequest.NOPUT
_NO_DELETE = rpc_pb2.WatchCreateRequest.NODELETE


@dataclass(frozen=True, slots=True)
class WatchReply:
    """One message of a watch stream.

    Attributes:
        header: cluster and revision; all zero in the reply that tells of a compaction.
        watch_id: whom it concerns, -1 for everybody or nobody.
        created: it answers a create request.
        canceled: the watcher ended, or with `created` was not made.
        compact_revision: not 0: what was asked for is compacted up to here.
        reason: text of a cancellation.
        fragment: more parts of the same message follow.
        events: changes, whole revisions in order (but for the last one of a fragment).
    """

    header: Header
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    reason: str = ""
    fragment: bool = False
    events: Sequence[Event] = ()


def create_request(
    key: bytes,
    range_end: bytes,
    start_revision: int,
    *,
    puts: bool = True,
    deletes: bool = True,
    previous: bool = False,
    progress: bool = False,
) -> rpc_pb2.WatchRequest:
    """Ask for a watcher with an id of the server's choice; large messages may be cut in fragments."""
    filters = [*([] if puts else [_NO_PUT]), *([] if deletes else [_NO_DELETE])]
    return rpc_pb2.WatchRequest(
        create_request=rpc_pb2.WatchCreateRequest(
            key=key,
            range_end=range_end,
            start_revision=start_revision,
            filters=filters,
            prev_kv=previous,
            progress_notify=progress,
            fragment=True,
        )
    )


def cancel_request(watch_id: int) -> rpc_pb2.WatchRequest:
    """Ask for the end of one watcher."""
    return rpc_pb2.WatchRequest(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=watch_id))


def read_reply(message: rpc_pb2.WatchResponse, namespace: bytes = b"") -> WatchReply:
    """Read one message; the namespace is cut from every key."""
    return WatchReply(
        convert.header(message.header),
        message.watch_id,
        message.created,
        message.canceled,
        message.compact_revision,
        message.cancel_reason,
        message.fragment,
        [_read_event(event, namespace) for event in message.events],
    )


def _read_event(event: mvcc_pb2.Event, namespace: bytes) -> Event:
    kind = EventKind.DELETE if event.type == _DELETE else EventKind.PUT
    previous = convert.key_value(event.prev_kv, namespace) if event.HasField("prev_kv") else None
    return Event(kind, convert.key_value(event.kv, namespace), previous)
