"""gRPC itself: unknown methods and services, undecodable bytes, deadlines, health, metadata."""

import grpc
import pytest

from coord.wire import methods, rpc_pb2
from tests.conformance.wire import refused

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


def raw(wire, path, data=b"", **options):
    return wire.channel.unary_unary(path)(data, timeout=10, **options)


def test_unknown_method(wire):
    with refused((UNIMPLEMENTED, "unknown method Nothing for service etcdserverpb.KV")):
        raw(wire, "/etcdserverpb.KV/Nothing")


def test_unknown_service(wire):
    with refused((UNIMPLEMENTED, "unknown service no.Such")):
        raw(wire, "/no.Such/Method")


def test_reflection_is_not_served(wire):
    with pytest.raises(grpc.RpcError) as caught:
        raw(wire, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert caught.value.code() is UNIMPLEMENTED


@pytest.mark.parametrize(
    "path",
    ["/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant"],
)
def test_undecodable_request_is_internal(wire, path):
    with pytest.raises(grpc.RpcError) as caught:
        raw(wire, path, b"\xff\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_undecodable_request_on_a_stream_ends_it(wire):
    stream = wire.watch()
    stream.send(b"\xff\xff\xff\xff")
    assert stream.status()[0] is grpc.StatusCode.INTERNAL


def test_server_goes_on_after_undecodable_bytes(wire, prefix):
    with pytest.raises(grpc.RpcError):
        raw(wire, "/etcdserverpb.KV/Put", b"\xff\xff\xff\xff")
    wire.put(prefix, b"v")
    assert wire.get(prefix).value == b"v"


def test_unknown_fields_are_ignored_in_a_nested_message(wire, prefix):
    op = rpc_pb2.PutRequest(key=prefix, value=b"v").SerializeToString() + b"\xfa\x3f\x03abc"  # field 1023
    request_op = b"\x12" + bytes([len(op)]) + op
    request = b"\x12" + bytes([len(request_op)]) + request_op
    wire.call(methods.KV_TXN, request)
    assert wire.get(prefix).value == b"v"


def test_health_of_the_server_is_serving(wire):
    assert raw(wire, "/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_health_of_an_unknown_service(wire):
    with refused((grpc.StatusCode.NOT_FOUND, "unknown service")):
        raw(wire, "/grpc.health.v1.Health/Check", b"\x0a\x03foo")


def test_health_watch_begins_with_serving(wire):
    call = wire.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=10)
    assert next(iter(call)) == b"\x08\x01"
    call.cancel()


@pytest.mark.parametrize(
    "metadata",
    [[("client-api-version", "3.5.0")], [("hasleader", "true")], [("x-unknown", "1")], [("x-bin", b"\0\xff")]],
    ids=lambda pair: pair[0][0],
)
def test_metadata_is_accepted(wire, prefix, metadata):
    wire.call(methods.KV_PUT, rpc_pb2.PutRequest(key=prefix, value=b"v"), metadata=metadata)
    assert wire.get(prefix).value == b"v"


def test_many_calls_on_one_channel_at_once(wire, prefix):
    put = wire.channel.unary_unary("/etcdserverpb.KV/Put", response_deserializer=rpc_pb2.PutResponse.FromString)
    calls = [
        put.future(rpc_pb2.PutRequest(key=prefix + b"%d" % number).SerializeToString(), timeout=10)
        for number in range(200)
    ]
    revisions = [call.result().header.revision for call in calls]
    assert len(set(revisions)) == 200
    assert max(revisions) - min(revisions) == 199
