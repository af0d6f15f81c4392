"""What a log entry says: the versioned envelope around one replicated command, and the ids that name requests."""

from __future__ import annotations

import itertools
from typing import Any

from google.protobuf.message import DecodeError

from coord.server.entry_pb2 import Envelope
from coord.server.invariant import invariant

VERSION = 1
"""Version of the envelope that this program writes, and the newest that it reads."""

_HEADER_TAG = 3  # etcd's header field: two bytes of tag, one of length
_SLACK = 128
_SUFFIX = (1 << 48) - 1


class EntryRefused(Exception):
    """A log entry cannot be read; applying the entries after it would fork the state."""


class RequestIds:
    """Ids no two requests of a cluster share: member prefix, start time in milliseconds, counter.

    The layout is etcd's (16, 40 and 8 bits; the counter carries into the time). A restarted member begins at a later
    time than it counted to, unless it served over 256 requests a millisecond for its whole life.
    """

    def __init__(self, member_id: int, started_ms: int) -> None:
        self._prefix = (member_id & 0xFFFF) << 48
        self._suffix = itertools.count((started_ms << 8 & _SUFFIX) + 1)

    def next(self) -> int:
        """A fresh id, never 0."""
        return self._prefix | (next(self._suffix) & _SUFFIX)


def encode(request_id: int, member_id: int, body: dict[str, Any], user: str = "", auth_revision: int = 0) -> bytes:
    """The entry that carries `body`, a mapping of one envelope field to its message."""
    envelope = Envelope(version=VERSION, request_id=request_id, member_id=member_id, **body)
    if user:
        envelope.user = user
        envelope.auth_revision = auth_revision
    return envelope.SerializeToString()


def decode(data: bytes) -> Envelope:
    """Read an entry.

    Raises:
        EntryRefused: it is damaged, or a newer program wrote it.
    """
    try:
        envelope = Envelope.FromString(data)
    except DecodeError as error:
        raise EntryRefused(f"log entry of {len(data)} bytes is not an envelope: {error}") from error
    if envelope.version != VERSION:
        raise EntryRefused(
            f"log entry has format version {envelope.version}, this program reads up to {VERSION}: "
            "it was written by a newer version of coord; start that version"
        )
    return envelope


def too_large(data: bytes, request_id: int, limit: int) -> bool:
    """True if etcd would refuse the request in `data` under its --max-request-bytes of `limit`.

    etcd measures its own encoding of the request, which is shorter than our envelope: so the size of that encoding is
    computed, and a value that fits there fits here (a 3-byte key with 1_572_838 bytes at the default limit).
    """
    if len(data) <= limit - _SLACK:
        return False
    return etcd_size(Envelope.FromString(data), request_id) > limit


def etcd_size(envelope: Envelope, request_id: int) -> int:
    """Length of etcd's InternalRaftRequest for the same request."""
    field = envelope.WhichOneof("body")
    invariant(field is not None, "an envelope without a body")
    body: int = getattr(envelope, str(field)).ByteSize()
    header = 1 + _varint(request_id)
    if envelope.user:
        header += 2 + len(envelope.user.encode()) + 1 + _varint(envelope.auth_revision)
    return 1 + _varint(body) + body + _HEADER_TAG + header


def _varint(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
