"""Sizes: the largest request, the largest message, the largest transaction."""

import re

import grpc
import pytest

from tests.conformance.errors import TOO_LARGE
from tests.conformance.wire import end_of, op_put, refused

MAX_REQUEST = 1572864
MAX_MESSAGE = MAX_REQUEST + 512 * 1024


@pytest.mark.surprise(40)
def test_largest_value(wire):
    # the limit is on the encoded internal request: value, key and about 26 bytes, which differ by the request's id
    largest = MAX_REQUEST - 40
    wire.put(b"big", b"x" * largest)
    assert len(wire.get(b"big").value) == largest
    wire.delete(b"big")


def test_request_limit_counts_the_key(wire, prefix):
    with refused(TOO_LARGE):
        wire.put(prefix + b"k" * 200, b"x" * (MAX_REQUEST - 100))


@pytest.mark.surprise(40)
def test_value_that_is_too_large(wire, prefix):
    with refused(TOO_LARGE):
        wire.put(prefix, b"x" * MAX_REQUEST)
    assert wire.range(prefix).count == 0


def test_txn_that_is_too_large(wire, prefix):
    before = wire.revision()
    with refused(TOO_LARGE):
        wire.txn(success=[op_put(prefix + b"%d" % number, b"x" * 800_000) for number in range(2)])
    assert wire.revision() == before


def test_delete_with_a_key_that_is_too_large(wire, prefix):
    with refused(TOO_LARGE):
        wire.delete(prefix + b"x" * MAX_REQUEST)


@pytest.mark.surprise(40)
def test_message_over_the_transport_limit(wire, prefix):
    with pytest.raises(grpc.RpcError) as caught:
        wire.put(prefix, b"x" * MAX_MESSAGE)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pattern = rf"grpc: received message larger than max \(\d+ vs\. {MAX_MESSAGE}\)"
    assert re.fullmatch(pattern, str(caught.value.details())) is not None


def test_channel_survives_a_message_over_the_limit(wire, prefix):
    with pytest.raises(grpc.RpcError):
        wire.put(prefix, b"x" * MAX_MESSAGE)
    wire.put(prefix, b"v")
    assert wire.get(prefix).value == b"v"


def test_max_request_bytes_is_configurable(fresh):
    wire = fresh("--max-request-bytes=1000")
    wire.put(b"k", b"x" * 900)
    with refused(TOO_LARGE):
        wire.put(b"k", b"x" * 1000)
    assert len(wire.get(b"k").value) == 900


def test_read_of_a_large_key_is_not_limited(wire, prefix):
    assert wire.range(prefix + b"x" * MAX_REQUEST).count == 0


def test_result_above_the_request_limit(wire, prefix):
    for number in range(3):
        wire.put(prefix + b"%d" % number, b"x" * 1_000_000)
    assert wire.range(prefix, end_of(prefix)).ByteSize() > 3_000_000
    wire.delete(prefix, end_of(prefix))
