"""The watch machine's actions as messages, and what both watch shells know of a client. No I/O."""

from __future__ import annotations

from coord.client.watch.actions import SendCancel, SendCreate
from coord.keys import namespaced
from coord.wire import rpc_pb2
from coord.wire.watch import cancel_request, create_request

METADATA = (("hasleader", "true"),)
"""A member that has lost its leader ends the stream instead of staying silent for ever."""


def to_message(action: SendCreate | SendCancel, namespace: bytes) -> rpc_pb2.WatchRequest:
    """The request that carries out `action`, moved below `namespace`."""
    if isinstance(action, SendCancel):
        return cancel_request(action.watch_id)
    key, range_end = namespaced(namespace, action.key, action.range_end)
    return create_request(
        key,
        range_end,
        action.start_revision,
        puts=action.puts,
        deletes=action.deletes,
        previous=action.previous,
        progress=action.progress,
    )
