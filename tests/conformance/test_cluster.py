"""The member list of a single member."""

import hashlib

from coord.wire import methods, rpc_pb2


def members(wire, **fields):
    return wire.call(methods.MEMBER_LIST, rpc_pb2.MemberListRequest(**fields)).members


def test_single_member(wire):
    [member] = members(wire)
    assert wire.status().header.member_id == member.ID
    assert member.isLearner is False


def test_name_and_client_urls(wire):
    [member] = members(wire)
    assert (member.name, list(member.clientURLs)) == ("default", [wire.server.endpoint])


def test_linearizable_list(wire):
    assert list(members(wire, linearizable=True)) == list(members(wire))


def test_name_is_a_flag(fresh):
    assert members(fresh("--name=m1"))[0].name == "m1"


def first_eight_bytes(data):
    return int.from_bytes(hashlib.sha1(data).digest()[:8], "big")


def test_ids_are_made_from_peer_urls_and_token(fresh):
    wire = fresh("--initial-cluster-token=mine")
    header = wire.status().header
    assert header.member_id == first_eight_bytes(wire.server.peer_url.encode() + b"mine")
    assert header.cluster_id == first_eight_bytes(header.member_id.to_bytes(8, "big"))


def test_peer_urls(wire):
    [member] = members(wire)
    assert list(member.peerURLs) == [wire.server.peer_url]


def test_member_list_survives_a_restart(fresh):
    wire = fresh()
    before = list(members(wire))
    wire.server.restart()
    assert list(members(wire)) == before
