"""Txn: branches, order of effects, revisions in headers, what a refusal leaves behind."""

import pytest

from tests.conformance.errors import COMPACTED, FUTURE, KEY_NOT_FOUND, LEASE_NOT_FOUND
from tests.conformance.wire import (
    compare,
    end_of,
    keys,
    op_delete,
    op_put,
    op_range,
    op_txn,
    pairs,
    refused,
    response_of,
)


def missing(key):
    return compare(key, "version", "=", 0)


def never(key):
    return compare(key, "version", "<", 0)


@pytest.mark.surprise(13)
def test_empty_txn_succeeds_without_a_change(wire):
    before = wire.revision()
    response = wire.txn()
    assert (response.succeeded, list(response.responses), response.header.revision) == (True, [], before)
    assert wire.revision() == before


def test_no_compares_takes_the_success_branch(wire, prefix):
    wire.txn(success=[op_put(prefix, b"yes")], failure=[op_put(prefix, b"no")])
    assert wire.get(prefix).value == b"yes"


def test_true_compare_takes_the_success_branch(wire, prefix):
    response = wire.txn([missing(prefix)], [op_put(prefix, b"yes")], [op_put(prefix, b"no")])
    assert response.succeeded
    assert wire.get(prefix).value == b"yes"


def test_false_compare_takes_the_failure_branch(wire, prefix):
    response = wire.txn([never(prefix)], [op_put(prefix, b"yes")], [op_put(prefix, b"no")])
    assert not response.succeeded
    assert wire.get(prefix).value == b"no"


def test_all_compares_must_hold(wire, prefix):
    assert not wire.txn([missing(prefix), never(prefix)]).succeeded
    assert not wire.txn([never(prefix), missing(prefix)]).succeeded
    assert wire.txn([missing(prefix), missing(prefix)]).succeeded


def test_failure_branch_may_be_empty(wire, prefix):
    before = wire.revision()
    response = wire.txn([never(prefix)], [op_put(prefix)])
    assert (response.succeeded, list(response.responses), response.header.revision) == (False, [], before)


def test_one_response_for_each_op_in_order(wire, prefix):
    ops = [op_put(prefix + b"a"), op_range(prefix + b"a"), op_delete(prefix + b"b"), op_txn()]
    kinds = [op.WhichOneof("response") for op in wire.txn(success=ops).responses]
    assert kinds == ["response_put", "response_range", "response_delete_range", "response_txn"]


def test_all_changes_share_one_revision(wire, prefix):
    before = wire.revision()
    wire.txn(success=[op_put(prefix + name) for name in (b"a", b"b", b"c")])
    assert [kv.mod_revision for kv in wire.range(prefix, end_of(prefix)).kvs] == [before + 1] * 3
    assert wire.revision() == before + 1


def test_reads_see_earlier_writes_of_the_txn(wire, prefix):
    response = wire.txn(success=[op_put(prefix, b"new"), op_range(prefix)])
    assert pairs(response_of(response.responses[1]).kvs) == [(prefix, b"new")]


def test_reads_do_not_see_later_writes_of_the_txn(wire, prefix):
    response = wire.txn(success=[op_range(prefix), op_put(prefix, b"new")])
    assert response_of(response.responses[0]).count == 0


def test_read_after_a_delete_in_the_txn(wire, prefix):
    wire.put(prefix, b"v")
    response = wire.txn(success=[op_delete(prefix), op_range(prefix)])
    assert response_of(response.responses[1]).count == 0


def test_read_of_an_older_revision_in_the_txn(wire, prefix):
    revision = wire.put(prefix, b"old").header.revision
    response = wire.txn(success=[op_put(prefix, b"new"), op_range(prefix, revision=revision)])
    assert pairs(response_of(response.responses[1]).kvs) == [(prefix, b"old")]


def test_range_options_work_in_a_txn(wire, prefix):
    for name in (b"a", b"b", b"c"):
        wire.put(prefix + name, b"v")
    fields = {"limit": 2, "sort_order": 2, "keys_only": True}
    found = response_of(wire.txn(success=[op_range(prefix, end_of(prefix), **fields)]).responses[0])
    assert (pairs(found.kvs), found.more, found.count) == ([(prefix + b"c", b""), (prefix + b"b", b"")], True, 3)


def test_previous_values_in_a_txn(wire, prefix):
    wire.put(prefix, b"1")
    response = wire.txn(success=[op_put(prefix, b"2", prev_kv=True)])
    assert response_of(response.responses[0]).prev_kv.value == b"1"
    response = wire.txn(success=[op_delete(prefix, prev_kv=True)])
    assert pairs(response_of(response.responses[0]).prev_kvs) == [(prefix, b"2")]


def test_put_with_lease_in_a_txn(wire, prefix, lease):
    attached = lease()
    wire.txn(success=[op_put(prefix, b"v", lease=attached)])
    assert list(wire.time_to_live(attached, keys=True).keys) == [prefix]


def test_ignore_value_and_lease_in_a_txn(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, b"kept", lease=attached)
    wire.txn(success=[op_put(prefix, ignore_value=True, ignore_lease=True)])
    kv = wire.get(prefix)
    assert (kv.value, kv.lease, kv.version) == (b"kept", attached, 2)


def test_read_only_txn_does_not_raise_the_revision(wire, prefix):
    revision = wire.put(prefix).header.revision
    assert wire.txn(success=[op_range(prefix)]).header.revision == revision
    assert wire.revision() == revision


def test_serializable_read_only_txn(wire, prefix):
    wire.put(prefix, b"v")
    response = wire.txn(success=[op_range(prefix, serializable=True)])
    assert pairs(response_of(response.responses[0]).kvs) == [(prefix, b"v")]


def test_txn_that_deletes_nothing_does_not_raise_the_revision(wire, prefix):
    before = wire.revision()
    assert wire.txn(success=[op_delete(prefix)]).header.revision == before


def test_nested_txn_without_effect_does_not_raise_the_revision(wire, prefix):
    before = wire.revision()
    assert wire.txn(success=[op_txn(success=[op_range(prefix)])]).header.revision == before


def test_top_header_has_the_new_revision_and_the_ids(wire, prefix):
    before = wire.put(prefix).header
    header = wire.txn(success=[op_put(prefix)]).header
    assert header.revision == before.revision + 1
    assert (header.cluster_id, header.member_id, header.raft_term) == (
        before.cluster_id,
        before.member_id,
        before.raft_term,
    )


@pytest.mark.surprise(11)
@pytest.mark.parametrize("kind", ["put", "range", "delete"])
def test_headers_of_ops_have_only_the_revision(wire, prefix, kind):
    op = {"put": op_put(prefix), "range": op_range(prefix), "delete": op_delete(prefix)}[kind]
    wire.put(prefix)
    response = wire.txn(success=[op])
    header = response_of(response.responses[0]).header
    assert header.revision == response.header.revision
    assert (header.cluster_id, header.member_id, header.raft_term) == (0, 0, 0)


@pytest.mark.surprise(11)
def test_header_of_a_nested_txn_is_present_and_empty(wire, prefix):
    response = wire.txn(success=[op_txn(success=[op_put(prefix)])])
    nested = response_of(response.responses[0])
    assert nested.HasField("header")
    assert nested.header.ByteSize() == 0
    assert response_of(nested.responses[0]).header.revision == response.header.revision


@pytest.mark.surprise(12)
def test_delete_of_nothing_shows_the_old_revision_before_a_put_and_the_new_one_after(wire, prefix):
    before = wire.revision()
    ops = [op_delete(prefix + b"x"), op_put(prefix + b"a"), op_delete(prefix + b"y")]
    shown = [response_of(op).header.revision for op in wire.txn(success=ops).responses]
    assert shown == [before, before + 1, before + 1]


@pytest.mark.surprise(12)
def test_range_shows_the_old_revision_before_a_put_and_the_new_one_after(wire, prefix):
    before = wire.revision()
    ops = [op_range(prefix), op_put(prefix), op_range(prefix)]
    shown = [response_of(op).header.revision for op in wire.txn(success=ops).responses]
    assert shown == [before, before + 1, before + 1]


def test_nested_txn_takes_its_own_branch(wire, prefix):
    wire.put(prefix + b"there")
    inner = op_txn([missing(prefix + b"there")], [op_put(prefix + b"a")], [op_put(prefix + b"b")])
    response = wire.txn([missing(prefix)], [inner])
    nested = response_of(response.responses[0])
    assert (response.succeeded, nested.succeeded) == (True, False)
    assert keys(wire.range(prefix, end_of(prefix)).kvs) == [prefix + b"b", prefix + b"there"]


def test_nested_txn_shares_the_revision(wire, prefix):
    before = wire.revision()
    wire.txn(success=[op_put(prefix + b"a"), op_txn(success=[op_put(prefix + b"b")])])
    assert [kv.mod_revision for kv in wire.range(prefix, end_of(prefix)).kvs] == [before + 1] * 2


def test_deeply_nested_txn(wire, prefix):
    op = op_put(prefix, b"deep")
    for _ in range(20):
        op = op_txn(success=[op])
    wire.txn(success=[op])
    assert wire.get(prefix).value == b"deep"


@pytest.mark.surprise(8)
def test_nested_compare_does_not_see_effects_of_the_outer_txn(wire, prefix):
    inner = op_txn([missing(prefix)], [op_put(prefix + b"unseen")], [op_put(prefix + b"seen")])
    response = wire.txn(success=[op_put(prefix, b"v"), inner])
    assert response_of(response.responses[1]).succeeded
    assert wire.range(prefix + b"unseen").count == 1


@pytest.mark.surprise(9)
@pytest.mark.parametrize("option", ["ignore_value", "ignore_lease"])
def test_ignoring_does_not_see_a_key_made_by_the_txn(wire, prefix, option):
    before = wire.revision()
    inner = op_txn(success=[op_put(prefix, **{option: True})])
    with refused(KEY_NOT_FOUND):
        # the first put is of another key: two puts of one key are refused for another reason
        wire.txn(success=[op_put(prefix + b"other"), inner])
    assert wire.revision() == before
    assert wire.range(prefix, end_of(prefix)).count == 0


def test_unknown_lease_undoes_the_whole_txn(wire, prefix):
    before = wire.revision()
    with refused(LEASE_NOT_FOUND):
        wire.txn(success=[op_put(prefix + b"a"), op_put(prefix + b"b", lease=987654321)])
    assert wire.revision() == before
    assert wire.range(prefix, end_of(prefix)).count == 0


def test_future_read_undoes_the_whole_txn(wire, prefix):
    before = wire.revision()
    with refused(FUTURE):
        wire.txn(success=[op_put(prefix), op_range(prefix, revision=before + 5)])
    assert wire.revision() == before


def test_revision_of_the_txn_itself_is_still_the_future(wire, prefix):
    with refused(FUTURE):
        wire.txn(success=[op_put(prefix), op_range(prefix, revision=wire.revision() + 1)])


def test_future_read_in_a_read_only_txn(wire, prefix):
    with refused(FUTURE):
        wire.txn(success=[op_range(prefix, revision=wire.revision() + 1)])


def test_compacted_read_undoes_the_whole_txn(compacting, prefix):
    old = compacting.put(prefix, b"1").header.revision
    compacting.compact(compacting.put(prefix, b"2").header.revision)
    with refused(COMPACTED):
        compacting.txn(success=[op_put(prefix + b"new"), op_range(prefix, revision=old)])
    assert compacting.range(prefix + b"new").count == 0


def test_read_at_the_compacted_revision_in_a_txn(compacting, prefix):
    at = compacting.put(prefix, b"1").header.revision
    compacting.put(prefix, b"2")
    compacting.compact(at)
    response = compacting.txn(success=[op_range(prefix, revision=at)])
    assert pairs(response_of(response.responses[0]).kvs) == [(prefix, b"1")]


@pytest.mark.surprise(14)
@pytest.mark.parametrize("writing", [False, True], ids=["read only", "writing"])
def test_negative_revision_in_a_txn_is_compacted_after_a_compaction(compacting, prefix, writing):
    compacting.compact(compacting.put(prefix, b"v").header.revision)
    assert compacting.get(prefix, revision=-1).value == b"v"
    ops = [op_range(prefix, revision=-1)] + ([op_put(prefix + b"new")] if writing else [])
    with refused(COMPACTED):
        compacting.txn(success=ops)


@pytest.mark.parametrize(
    "untaken",
    [
        lambda prefix: op_put(prefix, lease=987654321),
        lambda prefix: op_put(prefix, ignore_value=True),
        lambda prefix: op_range(prefix, revision=2**60),
    ],
    ids=["unknown lease", "ignore_value of nothing", "future revision"],
)
def test_branch_not_taken_is_not_checked_against_the_store(wire, prefix, untaken):
    response = wire.txn([missing(prefix)], [op_put(prefix + b"a")], [untaken(prefix)])
    assert response.succeeded


def test_nested_refusal_undoes_the_outer_txn(wire, prefix):
    before = wire.revision()
    with refused(LEASE_NOT_FOUND):
        wire.txn(success=[op_put(prefix + b"a"), op_txn(success=[op_put(prefix + b"b", lease=987654321)])])
    assert wire.revision() == before


def test_nested_branch_not_taken_is_not_checked(wire, prefix):
    inner = op_txn([missing(prefix)], [op_put(prefix + b"a")], [op_put(prefix + b"b", lease=987654321)])
    assert wire.txn(success=[inner]).succeeded


def test_put_and_delete_of_different_keys(wire, prefix):
    wire.put(prefix + b"old")
    wire.txn(success=[op_delete(prefix + b"old"), op_put(prefix + b"new")])
    assert keys(wire.range(prefix, end_of(prefix)).kvs) == [prefix + b"new"]


def test_two_deletes_may_overlap(wire, prefix):
    wire.put(prefix + b"a")
    wire.put(prefix + b"b")
    response = wire.txn(success=[op_delete(prefix, end_of(prefix)), op_delete(prefix + b"a")])
    assert [response_of(op).deleted for op in response.responses] == [2, 0]


def test_compare_and_swap_from_two_sides(wire, prefix):
    revision = wire.put(prefix, b"start").header.revision
    swap = [compare(prefix, "mod_revision", "=", revision)]
    first = wire.txn(swap, [op_put(prefix, b"first")], [op_range(prefix)])
    second = wire.txn(swap, [op_put(prefix, b"second")], [op_range(prefix)])
    assert (first.succeeded, second.succeeded) == (True, False)
    assert pairs(response_of(second.responses[0]).kvs) == [(prefix, b"first")]
