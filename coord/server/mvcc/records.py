"""The bytes of the store: revisions as keys, `mvccpb.KeyValue` as values, `mvccpb.Event` for watchers.

Encoded by hand: a put encodes its record once and everything after it (range replies, events, previous values) joins
stored bytes. That costs 0.3 us where building a message and serialising it costs 0.7. Fields are written in ascending
order and zero fields left out, which is also what HashKV is defined over.

Source: etcd server/storage/mvcc/revision.go, api/mvccpb/kv.proto.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

TOMBSTONE: Final = b"t"
REVISION_KEY_LEN: Final = 17
_MARK: Final = TOMBSTONE[0]
_REVISION: Final = struct.Struct(">QcQ")
_pack: Final = _REVISION.pack
_main_of: Final = struct.Struct(">Q").unpack_from
_revision_of: Final = struct.Struct(">QxQ").unpack_from

# Varints of up to 14 bits by table, larger ones as a low half with the continuation bit and the rest from the table.
_SHORT: Final = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(1 << 14)]
_LOW: Final = [bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14)]


def varint(number: int) -> bytes:
    """The protobuf encoding of an integer field; negative numbers take ten bytes."""
    if 0 <= number < 1 << 14:
        return _SHORT[number]
    if 0 <= number < 1 << 28:
        return _LOW[number & 16383] + _SHORT[number >> 14]
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number that starts at `at`, and where the next field starts."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def revision_key(main: int, sub: int) -> bytes:
    """Where the backend keeps the record of a put."""
    return _pack(main, b"_", sub)


def main_of(revision: bytes) -> int:
    """The main revision of a revision key."""
    main: int = _main_of(revision)[0]
    return main


def main_sub_of(revision: bytes) -> tuple[int, int]:
    """Both numbers of a revision key."""
    main, sub = _revision_of(revision)
    return main, sub


def is_tombstone(revision: bytes) -> bool:
    """True for the revision key of a deletion."""
    return len(revision) > REVISION_KEY_LEN and revision[REVISION_KEY_LEN] == _MARK


def encode_record(key: bytes, create: int, mod: int, version: int, value: bytes, lease: int) -> bytes:
    """A KeyValue message."""
    mod_bytes = varint(mod)
    create_bytes = mod_bytes if create == mod else varint(create)
    if value:
        record = b"\n%b%b\x10%b\x18%b %b*%b%b" % (
            varint(len(key)),
            key,
            create_bytes,
            mod_bytes,
            varint(version),
            varint(len(value)),
            value,
        )
    else:
        record = b"\n%b%b\x10%b\x18%b %b" % (varint(len(key)), key, create_bytes, mod_bytes, varint(version))
    return b"%b0%b" % (record, varint(lease)) if lease else record


def encode_tombstone(key: bytes) -> bytes:
    """The stored record of a deletion: a KeyValue with only the key."""
    return b"\n%b%b" % (varint(len(key)), key)


class Record(NamedTuple):
    """A decoded KeyValue."""

    key: bytes
    create: int
    mod: int
    version: int
    value: bytes
    lease: int


def decode_record(data: bytes) -> Record:
    """Every field of a stored record."""
    key, create, mod, version, at = _head(data)
    value = b""
    lease = 0
    end = len(data)
    if at < end and data[at] == 0x2A:
        length, at = read_varint(data, at + 1)
        value = data[at : at + length]
        at += length
    if at < end:
        lease = _signed(read_varint(data, at + 1)[0])
    return Record(key, create, mod, version, value, lease)


def record_key(data: bytes) -> bytes:
    """Only the key; b"" for the empty record that `etcdutl snapshot restore --bump-revision` writes."""
    if not data:
        return b""
    length = data[1]
    if length < 128:
        return data[2 : 2 + length]
    length, at = read_varint(data, 1)
    return data[at : at + length]


def without_value(data: bytes) -> bytes:
    """The record with its value left out."""
    at = _head(data)[4]
    if at == len(data) or data[at] != 0x2A:
        return data
    length, start = read_varint(data, at + 1)
    return data[:at] + data[start + length :]


def record_lease(data: bytes) -> int:
    """Only the lease."""
    at = _head(data)[4]
    end = len(data)
    if at < end and data[at] == 0x2A:
        length, at = read_varint(data, at + 1)
        at += length
    return _signed(read_varint(data, at + 1)[0]) if at < end else 0


def incarnation_of(data: bytes) -> tuple[bytes, int, int, int]:
    """Key, create revision, version and lease: what the index and the lessor need of a record after a restart."""
    key, create, _, version, at = _head(data)
    end = len(data)
    if at < end and data[at] == 0x2A:
        length, at = read_varint(data, at + 1)
        at += length
    return key, create, version, _signed(read_varint(data, at + 1)[0]) if at < end else 0


def record_value(data: bytes) -> bytes:
    """Only the value."""
    at = _head(data)[4]
    if at == len(data) or data[at] != 0x2A:
        return b""
    length, at = read_varint(data, at + 1)
    return data[at : at + length]


def encode_event(record: bytes, mod: int, deleted: bool, previous: bytes | None = None) -> bytes:
    """An Event as a field of a WatchResponse, from stored records.

    The stored tombstone has only the key; watchers also get the revision of the deletion.
    """
    if deleted:
        record = b"%b\x18%b" % (record, varint(mod))
        event = b"\x08\x01\x12%b%b" % (varint(len(record)), record)
    else:
        event = b"\x12%b%b" % (varint(len(record)), record)
    if previous is not None:
        event = b"%b\x1a%b%b" % (event, varint(len(previous)), previous)
    return b"Z%b%b" % (varint(len(event)), event)


def created_by(data: bytes) -> bool:
    """True if the put that wrote this record created the key."""
    _, create, mod, _, _ = _head(data)
    return create == mod


def _head(data: bytes) -> tuple[bytes, int, int, int, int]:
    """Key, create, mod, version, and where the fields after them start."""
    length, at = read_varint(data, 1)
    key = data[at : at + length]
    at += length
    create = mod = version = 0
    end = len(data)
    if at < end and data[at] == 0x10:
        create, at = read_varint(data, at + 1)
    if at < end and data[at] == 0x18:
        mod, at = read_varint(data, at + 1)
    if at < end and data[at] == 0x20:
        version, at = read_varint(data, at + 1)
    return key, create, mod, version, at


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
