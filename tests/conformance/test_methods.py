"""Every method of etcd's API is served, or stands in the table of differences as not served."""

import grpc
import pytest

from coord.wire import methods
from tests.conformance.differences import BY_CASE

BLOCKING = {"/v3lockpb.Lock/Lock", "/v3electionpb.Election/Campaign", "/v3electionpb.Election/Observe"}
CRASHING = {"/etcdserverpb.Auth/RoleGrantPermission"}  # without a permission it ends 3.4 and 3.5 (surprise 45)


def answered(wire, path):
    """The code that an empty request is answered with."""
    method = methods.METHODS[path]
    timeout = 0.3 if path in BLOCKING else 10
    if method.kind is methods.Kind.UNARY:
        call = wire.channel.unary_unary(path).future(b"", timeout=timeout)
        return call.code()
    if method.kind is methods.Kind.SERVER_STREAM:
        stream = wire.channel.unary_stream(path)(b"", timeout=timeout)
    else:
        stream = wire.channel.stream_stream(path)(iter([b""]), timeout=0.3)
    try:
        next(stream)
        stream.cancel()
        return grpc.StatusCode.OK
    except StopIteration:
        return grpc.StatusCode.OK
    except grpc.RpcError:
        return stream.code()


def test_methods_are_served_or_named(fresh, expected):
    wire = fresh()
    refused = {
        path
        for path in methods.METHODS
        if path not in CRASHING and answered(wire, path) is grpc.StatusCode.UNIMPLEMENTED
    }
    assert refused == expected("methods: not served") - CRASHING


@pytest.mark.parametrize("kind", ["bundled", "etcd34", "etcd35"])
def test_table_names_only_methods_that_exist(kind):
    assert BY_CASE["methods: not served"].answer(kind) <= set(methods.METHODS)
