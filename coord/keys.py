"""Key arithmetic: encoding, prefix ends, namespaces. Pure."""

from __future__ import annotations

from coord.errors import UsageError

EVERYTHING = b"\x00"
"""As a range end: no upper bound (etcd's convention)."""


def to_bytes(value: str | bytes | bytearray | memoryview) -> bytes:
    """The bytes of a key or value; text is encoded as UTF-8.

    Raises:
        UsageError: it is neither text nor bytes, or text that has no UTF-8.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(f"text is stored as UTF-8, which this is not: {error}") from error
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise UsageError(f"keys and values are str or bytes, not {type(value).__name__}")


def prefix_end(prefix: bytes) -> bytes:
    """The range end that makes [prefix, end) hold exactly the keys that start with `prefix`.

    The last byte that is not 0xff is raised by one and what follows is cut off; with none left there is no upper
    bound. Other clients got this wrong for keys that end in a slash and deleted their neighbours.

    Source: etcd clientv3/op.go getPrefix.
    """
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return EVERYTHING
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def namespaced(namespace: bytes, key: bytes, range_end: bytes) -> tuple[bytes, bytes]:
    """Key and range end moved below `namespace`, so that nothing outside of it can be reached.

    Source: etcd clientv3/namespace/util.go prefixInterval.
    """
    if not namespace:
        return key, range_end
    if not range_end:
        return namespace + key, b""
    if range_end == EVERYTHING:
        return namespace + key, prefix_end(namespace)
    return namespace + key, namespace + range_end
