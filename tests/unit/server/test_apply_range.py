"""Ranges: order, limits, filters; at once and in steps."""

from __future__ import annotations

import random

import pytest

from coord.server.machine import ranges
from coord.wire import rpc_pb2 as pb
from coord.wire.mvcc_pb2 import KeyValue
from tests.unit.server.machine import Machine, finish

Range = pb.RangeRequest


@pytest.fixture
def machine():
    machine = Machine()
    for key, value in ((b"s1", b"b"), (b"s2", b"c"), (b"s3", b"a")):
        machine.put(key, value)
    return machine


def test_a_range_backwards_is_empty(machine):
    response = machine.range(b"s3", b"s1")
    assert (response.count, list(response.kvs), response.more) == (0, [], False)
    assert response.header.revision == 4


def test_the_header_is_of_now_even_for_old_revisions(machine):
    response = machine.range(b"s", b"t", revision=2)
    assert response.header.revision == 4
    assert [kv.key for kv in response.kvs] == [b"s1"]


def test_limits_cut_and_count_does_not(machine):
    response = machine.range(b"s", b"t", limit=2)
    assert ([kv.key for kv in response.kvs], response.more, response.count) == ([b"s1", b"s2"], True, 3)
    response = machine.range(b"s", b"t", limit=3)
    assert (len(response.kvs), response.more) == (3, False)
    assert len(machine.range(b"s", b"t", limit=-1).kvs) == 3


def test_old_revisions_count_as_they_were(machine):
    machine.delete(b"s1")
    machine.put(b"s4")
    response = machine.range(b"s", b"t", limit=1, revision=4)
    assert ([kv.key for kv in response.kvs], response.more, response.count) == ([b"s1"], True, 3)
    assert machine.range(b"s", b"t", count_only=True, revision=4).count == 3
    assert machine.range(b"s", b"t", count_only=True).count == 3


def test_count_only_ignores_limit_and_filters(machine):
    response = machine.range(b"s", b"t", count_only=True, limit=1, min_mod_revision=99)
    assert (response.count, list(response.kvs), response.more) == (3, [], False)


def test_keys_only_leaves_the_value_out_and_the_lease_in(machine):
    machine.grant(7)
    machine.put(b"s1", b"value", lease=7)
    for key, end in ((b"s1", b""), (b"s", b"s2")):
        kv = machine.range(key, end, keys_only=True).kvs[0]
        assert (kv.key, kv.value, kv.lease, kv.version, kv.mod_revision) == (b"s1", b"", 7, 2, 5)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"min_mod_revision": 3}, [b"s2", b"s3"]),
        ({"max_mod_revision": 3}, [b"s1", b"s2"]),
        ({"min_create_revision": 3, "max_create_revision": 3}, [b"s2"]),
        ({"min_mod_revision": -1}, [b"s1", b"s2", b"s3"]),
        ({"max_mod_revision": -1}, []),
    ],
)
def test_filters_bound_revisions_and_only_zero_is_none(machine, options, keys):
    response = machine.range(b"s", b"t", **options)
    assert [kv.key for kv in response.kvs] == keys
    assert (response.count, response.more) == (3, False)


def test_filters_apply_to_a_single_key(machine):
    response = machine.range(b"s1", min_mod_revision=3)
    assert (list(response.kvs), response.count) == ([], 1)
    assert machine.range(b"s1", max_create_revision=2).kvs[0].key == b"s1"


def test_more_is_said_of_what_the_filters_left(machine):
    response = machine.range(b"s", b"t", limit=2, min_mod_revision=3)
    assert (len(response.kvs), response.more, response.count) == (2, False, 3)
    response = machine.range(b"s", b"t", limit=1, min_mod_revision=3)
    assert (response.kvs[0].key, response.more) == (b"s2", True)


@pytest.mark.parametrize(
    ("target", "order", "keys"),
    [
        (Range.KEY, Range.DESCEND, [b"s3", b"s2", b"s1"]),
        (Range.VALUE, Range.ASCEND, [b"s3", b"s1", b"s2"]),
        (Range.VALUE, Range.DESCEND, [b"s2", b"s1", b"s3"]),
        (Range.VALUE, Range.NONE, [b"s3", b"s1", b"s2"]),
        (Range.MOD, Range.ASCEND, [b"s2", b"s3", b"s1"]),
        (Range.MOD, Range.NONE, [b"s2", b"s3", b"s1"]),
        (Range.CREATE, Range.DESCEND, [b"s3", b"s2", b"s1"]),
        (Range.VERSION, Range.DESCEND, [b"s1"]),
    ],
)
def test_orders(machine, target, order, keys):
    machine.put(b"s1", b"b")
    assert machine.keys(b"s", b"t", sort_target=target, sort_order=order)[: len(keys)] == keys


def test_without_an_order_the_limit_cuts_by_key_before_sorting(machine):
    assert machine.keys(b"s", b"t", sort_target=Range.VALUE, limit=1) == [b"s1"]
    assert machine.keys(b"s", b"t", sort_target=Range.VALUE, sort_order=Range.ASCEND, limit=1) == [b"s3"]
    assert machine.range(b"s", b"t", sort_target=Range.VALUE, limit=1).more
    assert not machine.range(b"s", b"t", sort_target=Range.VALUE, limit=3).more


def test_values_sort_even_when_left_out(machine):
    response = machine.range(b"s", b"t", sort_target=Range.VALUE, sort_order=Range.DESCEND, keys_only=True)
    assert [(kv.key, kv.value) for kv in response.kvs] == [(b"s2", b""), (b"s1", b""), (b"s3", b"")]


# --- against a plain computation


def naive(kvs: list[KeyValue], request: pb.RangeRequest) -> tuple[list[KeyValue], bool, int]:
    """etcd's range.go in a few lines."""
    count = len(kvs)
    if request.count_only:
        return [], False, count
    bounds = (
        (request.min_mod_revision, request.max_mod_revision, "mod_revision"),
        (request.min_create_revision, request.max_create_revision, "create_revision"),
    )
    filtered = any(low or high for low, high, _ in bounds)
    if request.limit > 0 and not filtered and request.sort_order == Range.NONE:
        kvs = kvs[: request.limit + 1]
    for low, high, field in bounds:
        kvs = [kv for kv in kvs if (not low or getattr(kv, field) >= low) and (not high or getattr(kv, field) <= high)]
    field = ["key", "version", "create_revision", "mod_revision", "value"][request.sort_target]
    kvs = sorted(kvs, key=lambda kv: getattr(kv, field), reverse=request.sort_order == Range.DESCEND)
    more = 0 < request.limit < len(kvs)
    return kvs[: request.limit] if request.limit > 0 else kvs, more, count


@pytest.mark.parametrize("seed", range(25))
def test_random_ranges_agree_with_a_plain_computation(seed, monkeypatch):
    monkeypatch.setattr(ranges, "SLICE", 4)
    rng = random.Random(seed)
    machine = Machine()
    keys = [b"%c%d" % (97 + number % 5, number) for number in range(25)]
    for _ in range(80):
        if rng.random() < 0.25:
            machine.delete(rng.choice(keys))
        else:
            machine.put(rng.choice(keys), bytes([rng.randint(97, 102)]))
    for _ in range(60):
        revision = rng.choice([0, rng.randint(1, machine.sm.revision)])
        start, end = rng.choice(keys), rng.choice([*keys, b"\0"])
        request = pb.RangeRequest(
            key=start,
            range_end=end,
            limit=rng.choice([0, 0, 1, 3, 5, 100]),
            sort_order=rng.choice([0, 1, 2]),  # type: ignore[arg-type]  # the wire has ints
            sort_target=rng.choice([0, 0, 1, 2, 3, 4]),  # type: ignore[arg-type]  # the wire has ints
            count_only=rng.random() < 0.1,
        )
        if rng.random() < 0.3:
            request.min_mod_revision, request.max_create_revision = rng.randint(0, 40), rng.randint(0, 90)
        everything = machine.sm.store.find_many(
            machine.sm.store.index.known(b"", None), revision or machine.sm.revision
        )
        kvs = [KeyValue.FromString(one) for one in everything]
        kvs = [kv for kv in kvs if start <= kv.key and (end == b"\0" or kv.key < end)]
        request.revision = revision
        response = machine.range(**{field.name: value for field, value in request.ListFields()})
        expected, more, count = naive(kvs, request)
        field = ["key", "version", "create_revision", "mod_revision", "value"][request.sort_target]
        assert [getattr(kv, field) for kv in response.kvs] == [getattr(kv, field) for kv in expected]
        assert (response.more, response.count) == (more, count)
        if not request.limit:
            assert sorted(kv.key for kv in response.kvs) == sorted(kv.key for kv in expected)


# --- in steps


@pytest.fixture
def big():
    machine = Machine()
    for number in range(3500):
        machine.sm.store.put(b"%04d" % number, b"v", 0)
        machine.sm.store.commit()
    return machine


@pytest.mark.parametrize("order", [Range.NONE, Range.DESCEND])
def test_writes_between_the_slices_do_not_show(big, order):
    request = pb.RangeRequest(key=b"\0", range_end=b"\0", sort_order=order)
    before = pb.RangeResponse.FromString(big.sm.range(request))
    assert big.sm.range_is_large(request)
    work = big.sm.range_steps(request)
    for number in (3400, 10, 2000):
        next(work)
        big.put(b"%04d" % number, b"changed")
        big.delete(b"%04d" % (number + 1))
        big.put(b"%04d+" % number, b"new")
    assert pb.RangeResponse.FromString(finish(work)) == before


def test_a_compaction_between_the_slices_takes_nothing_away(big):
    request = pb.RangeRequest(key=b"\0", range_end=b"\0")
    before = pb.RangeResponse.FromString(big.sm.range(request))
    work = big.sm.range_steps(request)
    next(work)
    big.delete(b"3000", b"\0")
    big.compact(big.sm.revision)
    scrub = big.sm.compaction_steps()
    for _ in range(10):
        next(scrub)
    assert pb.RangeResponse.FromString(finish(work)) == before
    for _ in scrub:
        pass
    assert not big.sm.compaction_pending


def reading(*reads: pb.RangeRequest) -> pb.TxnRequest:
    return pb.TxnRequest(success=[pb.RequestOp(request_range=read) for read in reads])


def test_a_transaction_of_long_reads_sees_one_revision_whatever_happens_between_its_slices(big):
    start, end, now = b"\0", b"\0", big.put(b"0005", b"again").header.revision
    request = reading(
        pb.RangeRequest(key=start, range_end=end),
        pb.RangeRequest(key=b"0011"),
        pb.RangeRequest(key=start, range_end=end, limit=1500, sort_order=Range.DESCEND, sort_target=Range.MOD),
        pb.RangeRequest(key=start, range_end=end, revision=now - 1, count_only=True),
    )
    before = big.sm.read_txn(request)
    work = big.sm.read_txn_steps(request)
    for number, compacted in ((3400, now), (10, now + 3), (2000, now + 6)):
        next(work)
        big.put(b"%04d" % number, b"changed")
        big.delete(b"%04d" % (number + 1))
        big.compact(compacted)
        scrub = big.sm.compaction_steps()
        for _ in range(10):
            next(scrub, None)
    assert finish(work) == before
    for _ in big.sm.compaction_steps():
        pass
    assert not big.sm.compaction_pending


def test_large_transactions_are_told_from_small(big):
    small = pb.RangeRequest(key=b"0000", range_end=b"0010")
    assert not big.sm.read_txn_is_large(reading(pb.RangeRequest(key=b"0000"), small))
    assert big.sm.read_txn_is_large(reading(*[small] * 20))
    assert big.sm.read_txn_is_large(reading(pb.RangeRequest(key=b"0", range_end=b"9")))


def test_a_read_given_up_does_not_hold_compaction_for_ever(big):
    work = big.sm.range_steps(pb.RangeRequest(key=b"\0", range_end=b"\0"))
    next(work)
    big.delete(b"3000", b"\0")
    big.compact(big.sm.revision)
    work.close()
    for _ in big.sm.compaction_steps():
        pass
    assert not big.sm.compaction_pending


@pytest.mark.parametrize(
    ("options", "large"),
    [
        ({}, True),
        ({"limit": 10}, False),
        ({"limit": 2000}, True),
        ({"count_only": True}, False),
        ({"count_only": True, "revision": 2}, True),
        ({"limit": 10, "sort_order": Range.DESCEND}, True),
        ({"limit": 10, "min_mod_revision": 1}, True),
    ],
)
def test_large_reads_are_told_from_small(big, options, large):
    assert big.sm.range_is_large(pb.RangeRequest(key=b"0", range_end=b"9", **options)) == large
    assert not big.sm.range_is_large(pb.RangeRequest(key=b"0000", **options))
    assert not big.sm.range_is_large(pb.RangeRequest(key=b"0000", range_end=b"0010", **options))


def test_a_read_of_now_that_is_sorted_does_not_walk_over_deleted_keys(machine, monkeypatch):
    for number in range(50):
        machine.put(b"lock/%d" % number, b"")
        machine.delete(b"lock/%d" % number)
    machine.put(b"lock/last", b"")

    def walked(*_):
        raise AssertionError("deleted keys were looked at")

    monkeypatch.setattr(machine.sm.store.index, "known", walked)
    request = Range(key=b"lock/", range_end=b"lock0", limit=1, sort_target=Range.CREATE, sort_order=Range.ASCEND)
    response = pb.RangeResponse.FromString(machine.sm.range(request))
    assert ([kv.key for kv in response.kvs], response.count, response.more) == ([b"lock/last"], 1, False)
