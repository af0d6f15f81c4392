"""Values to messages and back, below and above a namespace."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coord import ops
from coord.errors import ServerBug
from coord.keys import EVERYTHING, prefix_end
from coord.model import Alarm, DeleteResult, Header, KeyValue, PutResult, RangeResult, TxnResult
from coord.ops import Attribute, Compare, Get, Order, Relation, Target, Txn
from coord.wire import convert, mvcc_pb2, rpc_pb2

HEADER = rpc_pb2.ResponseHeader(cluster_id=2**64 - 1, member_id=2, revision=3, raft_term=4)


def test_every_field_of_a_read() -> None:
    sent = convert.range_request(
        Get(b"a", b"b", 1, 2, Order.DESCEND, Target.VALUE, True, True, True, 3, 4, 5, 6), namespace=b"n/"
    )
    assert sent == rpc_pb2.RangeRequest(
        key=b"n/a",
        range_end=b"n/b",
        limit=1,
        revision=2,
        sort_order=rpc_pb2.RangeRequest.DESCEND,
        sort_target=rpc_pb2.RangeRequest.VALUE,
        serializable=True,
        keys_only=True,
        count_only=True,
        min_mod_revision=3,
        max_mod_revision=4,
        min_create_revision=5,
        max_create_revision=6,
    )


def test_enums_are_the_wires() -> None:
    assert {o.name: o.value for o in Order} == dict(rpc_pb2.RangeRequest.SortOrder.items())
    assert {t.name: t.value for t in Target} == dict(rpc_pb2.RangeRequest.SortTarget.items())
    assert {a.name: a.value for a in Attribute} == dict(rpc_pb2.Compare.CompareTarget.items())
    assert {r.name: r.value for r in Relation} == dict(rpc_pb2.Compare.CompareResult.items())


def test_put_and_delete() -> None:
    put = ops.Put(b"a", b"v", 5, True, True, True)
    assert convert.put_request(put, b"n/") == rpc_pb2.PutRequest(
        key=b"n/a", value=b"v", lease=5, prev_kv=True, ignore_value=True, ignore_lease=True
    )
    delete = ops.Delete(b"a", EVERYTHING, True)
    assert convert.delete_request(delete, b"n/") == rpc_pb2.DeleteRangeRequest(
        key=b"n/a", range_end=b"n0", prev_kv=True
    )


@pytest.mark.parametrize(
    ("attribute", "field"),
    [
        (Attribute.VERSION, "version"),
        (Attribute.CREATE, "create_revision"),
        (Attribute.MOD, "mod_revision"),
        (Attribute.LEASE, "lease"),
        (Attribute.VALUE, "value"),
    ],
)
def test_compare_sets_the_member_of_its_target(attribute: Attribute, field: str) -> None:
    for operand in (b"x", b"") if attribute is Attribute.VALUE else (7, 0):
        sent = convert.compare_message(Compare(b"a", attribute, Relation.LESS, operand, b"b"), b"n/")
        # A zero that is not set would be read as "no operand"; both mean zero to etcd, but we say what we mean.
        assert sent.WhichOneof("target_union") == field
        assert getattr(sent, field) == operand
        assert (sent.key, sent.range_end, sent.result) == (b"n/a", b"n/b", rpc_pb2.Compare.LESS)
        assert sent.target == attribute.value


def test_txn_with_everything_in_it() -> None:
    inner = Txn((ops.missing("c"),), (ops.put("c"),), (ops.get("c"),))
    sent = convert.txn_request(Txn((ops.exists("a"),), (ops.put("a"), inner), (ops.delete("b"), ops.get("b"))), b"n/")
    assert [c.key for c in sent.compare] == [b"n/a"]
    assert [o.WhichOneof("request") for o in sent.success] == ["request_put", "request_txn"]
    assert [o.WhichOneof("request") for o in sent.failure] == ["request_delete_range", "request_range"]
    nested = sent.success[1].request_txn
    assert nested.compare[0].key == nested.success[0].request_put.key == nested.failure[0].request_range.key == b"n/c"


def test_results() -> None:
    item = mvcc_pb2.KeyValue(key=b"n/a", value=b"v", create_revision=1, mod_revision=2, version=3, lease=4)
    expected = KeyValue(b"a", b"v", 1, 2, 3, 4)
    header = Header(2**64 - 1, 2, 3, 4)
    assert convert.range_result(
        rpc_pb2.RangeResponse(header=HEADER, kvs=[item], more=True, count=9), b"n/"
    ) == RangeResult(header, (expected,), True, 9)
    assert convert.put_result(rpc_pb2.PutResponse(header=HEADER)) == PutResult(header)
    assert convert.put_result(rpc_pb2.PutResponse(header=HEADER, prev_kv=item), b"n/").previous == expected
    assert convert.delete_result(
        rpc_pb2.DeleteRangeResponse(header=HEADER, deleted=2, prev_kvs=[item]), b"n/"
    ) == DeleteResult(header, 2, (expected,))


def test_previous_value_that_is_empty_is_not_missing() -> None:
    response = rpc_pb2.PutResponse(prev_kv=mvcc_pb2.KeyValue())
    assert convert.put_result(response).previous == KeyValue(b"")


def test_txn_results_keep_their_places() -> None:
    response = rpc_pb2.TxnResponse(
        header=HEADER,
        succeeded=True,
        responses=[
            rpc_pb2.ResponseOp(response_put=rpc_pb2.PutResponse()),
            rpc_pb2.ResponseOp(response_txn=rpc_pb2.TxnResponse(succeeded=False)),
            rpc_pb2.ResponseOp(response_range=rpc_pb2.RangeResponse(count=1)),
            rpc_pb2.ResponseOp(response_delete_range=rpc_pb2.DeleteRangeResponse(deleted=1)),
        ],
    )
    found = convert.txn_result(response)
    assert [type(result) for result in found.results] == [PutResult, TxnResult, RangeResult, DeleteResult]
    with pytest.raises(ServerBug):
        convert.txn_result(rpc_pb2.TxnResponse(responses=[rpc_pb2.ResponseOp()]))


def test_keys_of_a_lease_outside_of_the_namespace_are_not_shown() -> None:
    response = rpc_pb2.LeaseTimeToLiveResponse(ID=1, TTL=2, grantedTTL=3, keys=[b"n/a", b"other", b"n/"])
    assert convert.lease_info(response, b"n/").keys == (b"a", b"")
    assert convert.lease_info(response).keys == (b"n/a", b"other", b"n/")
    assert not convert.lease_info(rpc_pb2.LeaseTimeToLiveResponse(ID=1, TTL=-1)).exists


def test_alarms_of_a_newer_server() -> None:
    response = rpc_pb2.AlarmResponse()
    response.alarms.add(memberID=5, alarm=rpc_pb2.NOSPACE)
    response.MergeFromString(bytes([0x12, 4, 0x08, 6, 0x10, 99]))
    assert convert.alarms(response) == (Alarm(5, "NOSPACE"), Alarm(6, "99"))
    assert convert.disarm_request(Alarm(5, "NOSPACE")) == rpc_pb2.AlarmRequest(
        action=rpc_pb2.AlarmRequest.DEACTIVATE, memberID=5, alarm=rpc_pb2.NOSPACE
    )


KEYS = st.binary(min_size=0, max_size=3)


def covers(message: rpc_pb2.RangeRequest, key: bytes) -> bool:
    """etcd's rule for ranges."""
    if not message.range_end:
        return key == message.key
    return key >= message.key and (message.range_end == EVERYTHING or key < message.range_end)


@given(namespace=KEYS, key=KEYS.filter(bool), end=KEYS, probe=st.binary(max_size=5))
def test_a_namespace_moves_ranges_and_lets_nothing_out(namespace: bytes, key: bytes, end: bytes, probe: bytes) -> None:
    inside = convert.range_request(Get(key, end), namespace)
    outside = convert.range_request(Get(key, end))
    assert covers(inside, namespace + probe) == covers(outside, probe)
    if not probe.startswith(namespace):
        assert not covers(inside, probe)


def test_prefix_of_a_namespace_that_cannot_be_raised() -> None:
    for namespace, key in itertools.product((b"\xff", b"\xff\xff", b"a\xff"), (b"k", b"\xff")):
        sent = convert.range_request(ops.get(key, from_key=True), namespace)
        assert sent.range_end == prefix_end(namespace)
