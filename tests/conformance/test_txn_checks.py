"""What is refused before a transaction runs: empty keys and ops, duplicate keys, too many ops; and in which order."""

import pytest

from coord.wire import rpc_pb2
from tests.conformance.errors import (
    DUPLICATE_KEY,
    KEY_NOT_FOUND,
    KEY_NOT_PROVIDED,
    LEASE_PROVIDED,
    TOO_MANY_OPS,
    VALUE_PROVIDED,
)
from tests.conformance.wire import compare, end_of, op_delete, op_put, op_range, op_txn, refused, response_of

EMPTY_OP = rpc_pb2.RequestOp()


def true(prefix):
    return compare(prefix, "version", ">", -1)


@pytest.mark.parametrize("branch", ["success", "failure"])
@pytest.mark.parametrize(
    ("op", "error"),
    [
        (op_range(b""), KEY_NOT_PROVIDED),
        (op_put(b"", b"v"), KEY_NOT_PROVIDED),
        (op_delete(b""), KEY_NOT_PROVIDED),
        (op_put(b"k", b"v", ignore_value=True), VALUE_PROVIDED),
        (op_put(b"k", lease=5, ignore_lease=True), LEASE_PROVIDED),
        (op_txn(success=[op_put(b"")]), KEY_NOT_PROVIDED),
        (op_txn([compare(b"", "version", "=", 0)]), KEY_NOT_PROVIDED),
    ],
    ids=["range", "put", "delete", "value given", "lease given", "nested put", "nested compare"],
)
def test_ops_of_both_branches_are_checked(wire, branch, op, error):
    with refused(error):
        wire.txn(**{branch: [op]})


def test_compare_needs_a_key(wire):
    with refused(KEY_NOT_PROVIDED):
        wire.txn([compare(b"", "version", "=", 0)])


@pytest.mark.surprise(13)
@pytest.mark.parametrize("branch", ["success", "failure"])
def test_empty_op_is_key_not_found(wire, branch):
    with refused(KEY_NOT_FOUND):
        wire.txn(**{branch: [EMPTY_OP]})


@pytest.mark.surprise(13)
def test_empty_nested_op_is_key_not_found(wire):
    with refused(KEY_NOT_FOUND):
        wire.txn(success=[op_txn(success=[EMPTY_OP])])


def test_compares_are_checked_before_ops(wire):
    with refused(KEY_NOT_PROVIDED):
        wire.txn([compare(b"", "version", "=", 0)], [EMPTY_OP])


def test_success_is_checked_before_failure(wire):
    with refused(KEY_NOT_FOUND):
        wire.txn(success=[EMPTY_OP], failure=[op_put(b"")])
    with refused(KEY_NOT_PROVIDED):
        wire.txn(success=[op_put(b"")], failure=[EMPTY_OP])


def test_number_of_ops_is_checked_first(wire):
    with refused(TOO_MANY_OPS):
        wire.txn([compare(b"", "version", "=", 0)], [op_put(b"")] * 129)


def test_ops_are_checked_before_duplicates(wire, prefix):
    with refused(KEY_NOT_FOUND):
        wire.txn(success=[op_put(prefix), op_put(prefix), EMPTY_OP])


def test_failure_ops_are_checked_before_duplicates_of_success(wire, prefix):
    with refused(KEY_NOT_FOUND):
        wire.txn(success=[op_put(prefix), op_put(prefix)], failure=[EMPTY_OP])


@pytest.mark.parametrize("branch", ["success", "failure"])
def test_key_put_twice(wire, prefix, branch):
    with refused(DUPLICATE_KEY):
        wire.txn(**{branch: [op_put(prefix, b"1"), op_put(prefix, b"2")]})


def test_duplicates_of_the_branch_not_taken_count(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn([true(prefix)], [], [op_put(prefix), op_put(prefix)])


def test_branches_are_independent_of_each_other(wire, prefix):
    assert wire.txn([true(prefix)], [op_put(prefix)], [op_put(prefix), op_delete(prefix + b"x")]).succeeded


@pytest.mark.surprise(10)
@pytest.mark.parametrize("first", ["put", "delete"])
@pytest.mark.parametrize("kind", ["key", "range"])
def test_put_of_a_deleted_key(wire, prefix, first, kind):
    put = op_put(prefix + b"b")
    delete = op_delete(prefix + b"b") if kind == "key" else op_delete(prefix + b"a", prefix + b"c")
    with refused(DUPLICATE_KEY):
        wire.txn(success=[put, delete] if first == "put" else [delete, put])


def test_put_beside_a_deleted_range(wire, prefix):
    response = wire.txn(success=[op_delete(prefix + b"a", prefix + b"c"), op_put(prefix + b"c")])
    assert response.succeeded


@pytest.mark.surprise(10)
@pytest.mark.parametrize("put_first", [True, False])
def test_delete_with_open_end_is_not_seen_as_a_duplicate(fresh, put_first):
    wire = fresh()
    stream = wire.watch()
    stream.create(b"\0", b"\0")
    ops = [op_put(b"zz", b"v"), op_delete(b"k", b"\0")]
    revision = wire.txn(success=ops if put_first else ops[::-1]).header.revision
    got = stream.events(2 if put_first else 1)
    assert [(event.type, event.kv.key, event.kv.mod_revision) for event in got] == [
        (kind, b"zz", revision) for kind in ((0, 1) if put_first else (0,))
    ]


def test_delete_and_delete_of_the_same_key(wire, prefix):
    assert wire.txn(success=[op_delete(prefix), op_delete(prefix)]).succeeded


def test_range_of_a_key_that_is_put(wire, prefix):
    assert wire.txn(success=[op_range(prefix), op_put(prefix), op_range(prefix)]).succeeded


def test_nested_put_of_an_outer_key(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_put(prefix), op_txn(success=[op_put(prefix)])])


def test_nested_put_before_an_outer_put(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_txn(failure=[op_put(prefix)]), op_put(prefix)])


def test_two_nested_txns_put_one_key(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_txn(success=[op_put(prefix)]), op_txn(failure=[op_put(prefix)])])


def test_branches_of_one_nested_txn_may_put_the_same_key(wire, prefix):
    assert wire.txn(success=[op_txn([true(prefix)], [op_put(prefix)], [op_put(prefix)])]).succeeded


def test_nested_put_of_an_outer_deleted_key(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_delete(prefix, end_of(prefix)), op_txn(success=[op_put(prefix + b"a")])])


def test_nested_delete_of_an_outer_put(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_put(prefix + b"a"), op_txn(success=[op_delete(prefix, end_of(prefix))])])


@pytest.mark.parametrize("deleting", ["success", "failure"])
@pytest.mark.parametrize("putting", ["success", "failure"])
def test_nested_delete_then_nested_put(wire, prefix, deleting, putting):
    def nested(branch, op):
        return op_txn(success=[op]) if branch == "success" else op_txn(failure=[op])

    ops = [nested(deleting, op_delete(prefix)), nested(putting, op_put(prefix))]
    with refused(DUPLICATE_KEY):
        wire.txn(success=ops)


def test_nested_put_then_nested_delete_is_accepted(wire, prefix):
    response = wire.txn(success=[op_txn(success=[op_put(prefix)]), op_txn(success=[op_delete(prefix)])])
    deleted = response_of(response_of(response.responses[1]).responses[0])
    assert deleted.deleted == 1
    assert wire.range(prefix).count == 0


def test_duplicates_inside_a_nested_txn(wire, prefix):
    with refused(DUPLICATE_KEY):
        wire.txn(success=[op_txn(success=[op_put(prefix), op_put(prefix)])])


@pytest.mark.parametrize("part", ["compare", "success", "failure"])
def test_128_are_enough_and_129_too_many(wire, prefix, part):
    def some(number):
        if part == "compare":
            return [true(prefix)] * number
        return [op_range(prefix)] * number

    wire.txn(**{part: some(128)})
    with refused(TOO_MANY_OPS):
        wire.txn(**{part: some(129)})


def test_parts_are_counted_apart(wire, prefix):
    wire.txn([true(prefix)] * 128, [op_range(prefix)] * 128, [op_range(prefix)] * 128)


def test_nested_budget_is_what_the_outer_list_leaves(wire, prefix):
    outer = [op_range(prefix)] * 99
    wire.txn(success=[*outer, op_txn(success=[op_range(prefix)] * 28)])
    with refused(TOO_MANY_OPS):
        wire.txn(success=[*outer, op_txn(success=[op_range(prefix)] * 29)])


def test_nested_budget_counts_the_longest_outer_list(wire, prefix):
    with refused(TOO_MANY_OPS):
        wire.txn([true(prefix)] * 100, [op_txn(success=[op_range(prefix)] * 29)])


def test_nested_txns_do_not_share_their_budget(wire, prefix):
    inner = op_txn(success=[op_range(prefix)] * 100)
    wire.txn(success=[inner, inner, inner])


def test_third_level_budget(wire, prefix):
    def nested(innermost):
        middle = op_txn(success=[op_range(prefix)] * 49 + [op_txn(success=[op_range(prefix)] * innermost)])
        return [op_range(prefix)] * 49 + [middle]

    wire.txn(success=nested(28))
    with refused(TOO_MANY_OPS):
        wire.txn(success=nested(29))


def test_max_txn_ops_is_configurable(fresh):
    wire = fresh("--max-txn-ops=4")
    wire.txn(success=[op_range(b"k")] * 4)
    with refused(TOO_MANY_OPS):
        wire.txn(success=[op_range(b"k")] * 5)
