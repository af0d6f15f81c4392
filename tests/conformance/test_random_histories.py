"""Thousands of random requests, each sent to a server and given to the state machine: the answers are the same.

So the state machine is judged by real etcd far beyond what anybody would write down, and the bundled server by its own
state machine, through log, disk and network.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from coord.server.machine import validate
from coord.statuses import Refused
from coord.wire import methods, rpc_pb2
from tests.conformance.random_requests import METHODS, Requests
from tests.conformance.wire import Wire
from tests.conftest import make_server
from tests.unit.server.machine import Machine

REQUESTS = 1500


def by_machine(machine: Machine, kind: str, request: Any) -> Any:
    """The answer of the state machine, validated before as the server's API does it."""
    match kind:
        case "range":
            validate.check_range(request)
            return rpc_pb2.RangeResponse.FromString(machine.sm.range(request))
        case "time_to_live":
            return machine.sm.lease_time_to_live(request)
        case "hash_kv":
            return machine.sm.hash_kv(request.revision)
        case "put":
            validate.check_put(request)
        case "delete_range":
            validate.check_delete(request)
        case "txn":
            validate.check_txn(request, 128)
            if validate.is_readonly(request):
                return machine.sm.read_txn(request)
        case _:
            pass
    return machine.apply(**{kind: request})


def answer_of_machine(machine: Machine, kind: str, request: Any) -> Any:
    try:
        return comparable(by_machine(machine, kind, request), request)
    except Refused as refused:
        return refused.status.code, refused.status.text


def answer_of_server(wire: Wire, kind: str, request: Any) -> Any:
    try:
        return comparable(wire.call(METHODS[kind], request), request)
    except grpc.RpcError as error:
        return error.code().value[0], error.details()


def comparable(response: Any, request: Any) -> Any:
    """The response without what differs between any two servers."""
    response.header.cluster_id = response.header.member_id = response.header.raft_term = 0
    if isinstance(response, rpc_pb2.LeaseTimeToLiveResponse):
        response.TTL = min(response.TTL, 0)
        listed = sorted(response.keys)
        del response.keys[:]
        response.keys.extend(listed)
    if isinstance(response, rpc_pb2.HashKVResponse):
        response.hash_revision = 0  # from 3.6 on
    if isinstance(response, rpc_pb2.RangeResponse) and request.sort_target:
        return ties_removed(response, request)
    return response


def ties_removed(response: rpc_pb2.RangeResponse, request: rpc_pb2.RangeRequest) -> Any:
    """The order of equals is anybody's choice, and with a limit so is which of them come."""
    field = ("key", "version", "create_revision", "mod_revision", "value")[request.sort_target]
    order = [getattr(kv, field) for kv in response.kvs if not (field == "value" and request.keys_only)]
    records = sorted(kv.SerializeToString() for kv in response.kvs) if request.limit <= 0 else len(response.kvs)
    return response.header, response.count, response.more, order, records


@pytest.mark.parametrize("seed", [20, 21])
def test_random_requests_are_answered_alike(server_kind: str, seed: int) -> None:
    machine = Machine()
    with make_server(server_kind) as server:
        wire = Wire(server.start())
        requests = Requests(seed, without=() if serves(wire, methods.HASH_KV) else ("hash_kv",))
        refused = 0
        for number in range(REQUESTS):
            requests.revision, requests.compacted = machine.sm.revision, machine.sm.compact_revision
            kind, request = requests.next()
            theirs = answer_of_server(wire, kind, request)
            ours = answer_of_machine(machine, kind, request)
            if ours != theirs:
                pytest.fail(
                    f"seed {seed}, request {number}: {kind}\n{request}\nmachine: {ours}\n{server_kind}: {theirs}"
                )
            refused += isinstance(ours, tuple) and len(ours) == 2
            for _ in machine.sm.compaction_steps():
                pass
        assert REQUESTS // 20 < refused < REQUESTS // 2
        compare_histories(machine, wire)
        wire.close()


def serves(wire: Wire, method: methods.Method) -> bool:
    """False for a method that the server does not have."""
    try:
        wire.call(method, method.request())
    except grpc.RpcError as error:
        return error.code() != grpc.StatusCode.UNIMPLEMENTED
    return True


def compare_histories(machine: Machine, wire: Wire) -> None:
    """Both replay the same events, with the same previous values."""
    create = rpc_pb2.WatchCreateRequest(
        key=b"\0", range_end=b"\0", start_revision=machine.sm.compact_revision + 1, prev_kv=True
    )
    stream = machine.sm.watch_hub.open(lambda: None)
    stream.create(create)
    while machine.sm.watch_hub.catch_up():
        pass
    ours: list[Any] = []
    while (response := stream.pop()) is not None:
        ours += rpc_pb2.WatchResponse.FromString(response).events
    watching = wire.stream(methods.WATCH)
    watching.send(rpc_pb2.WatchRequest(create_request=create))
    assert watching.receive().created
    theirs: list[Any] = []
    while len(theirs) < len(ours):
        theirs += watching.receive().events
    assert theirs == ours
    watching.close()
