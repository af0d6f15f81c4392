"""Compares: every target and operator, missing keys, ranges, odd messages."""

import pytest

from coord.wire import rpc_pb2
from tests.conformance.wire import compare, end_of

TARGETS = ["version", "create_revision", "mod_revision", "lease", "value"]


@pytest.fixture
def stored(wire, prefix, lease):
    """A key with four different numbers, and its record."""
    attached = lease()
    wire.put(prefix)
    wire.put(prefix)
    wire.put(prefix, b"m", lease=attached)
    return wire.get(prefix)


def holds(wire, *compares):
    return wire.txn(compares).succeeded


def operands(kv, target):
    """An operand below, equal to and above the stored one."""
    stored = getattr(kv, target)
    return (b"l", b"m", b"n") if target == "value" else (stored - 1, stored, stored + 1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("operator", "below", "same", "above"),
    [
        ("=", False, True, False),
        ("!=", True, False, True),
        (">", True, False, False),
        ("<", False, False, True),
    ],
)
def test_operator_has_the_stored_side_on_its_left(wire, stored, target, operator, below, same, above):
    lower, equal, higher = operands(stored, target)
    found = tuple(holds(wire, compare(stored.key, target, operator, each)) for each in (lower, equal, higher))
    assert found == (below, same, above)


@pytest.mark.surprise(6)
@pytest.mark.parametrize("target", ["version", "create_revision", "mod_revision", "lease"])
def test_numbers_of_a_missing_key_are_zero(wire, prefix, target):
    assert holds(wire, compare(prefix, target, "=", 0))
    assert holds(wire, compare(prefix, target, "<", 1))
    assert holds(wire, compare(prefix, target, ">", -1))
    assert not holds(wire, compare(prefix, target, "!=", 0))


@pytest.mark.surprise(6)
@pytest.mark.parametrize("operator", ["=", "!=", ">", "<"])
@pytest.mark.parametrize("operand", [b"", b"x"], ids=["empty", "x"])
def test_value_of_a_missing_key_fails_every_compare(wire, prefix, operator, operand):
    assert not holds(wire, compare(prefix, "value", operator, operand))


def test_empty_value_of_an_existing_key_compares(wire, prefix):
    wire.put(prefix, b"")
    assert holds(wire, compare(prefix, "value", "=", b""))
    assert holds(wire, compare(prefix, "value", "<", b"\0"))


def test_deleted_key_compares_like_a_missing_one(wire, prefix):
    wire.put(prefix, b"v")
    wire.delete(prefix)
    assert holds(wire, compare(prefix, "mod_revision", "=", 0))
    assert not holds(wire, compare(prefix, "value", "!=", b"x"))


@pytest.mark.parametrize(("smaller", "larger"), [(b"a", b"aa"), (b"Z", b"a"), (b"\x7f", b"\x80"), (b"9", b"10")][:3])
def test_values_compare_as_unsigned_bytes(wire, prefix, smaller, larger):
    wire.put(prefix, larger)
    assert holds(wire, compare(prefix, "value", ">", smaller))


def test_numbers_in_values_compare_as_bytes(wire, prefix):
    wire.put(prefix, b"10")
    assert holds(wire, compare(prefix, "value", "<", b"9"))


@pytest.mark.surprise(7)
def test_unknown_target_is_true(wire, stored):
    odd = rpc_pb2.Compare(key=stored.key, target=9, result=0, version=-5)  # type: ignore[arg-type] # by number
    assert holds(wire, odd)


@pytest.mark.surprise(7)
def test_unknown_result_is_true(wire, stored):
    odd = rpc_pb2.Compare(key=stored.key, target=0, result=9, version=-5)  # type: ignore[arg-type] # by number
    assert holds(wire, odd)


def test_operand_of_another_target_counts_as_zero(wire, stored):
    # target VERSION, but the operand is set as mod_revision: the version is compared with 0
    odd = rpc_pb2.Compare(key=stored.key, target=0, result=1, mod_revision=2**60)  # type: ignore[arg-type] # by number
    assert holds(wire, odd)


def test_missing_operand_counts_as_zero(wire, prefix):
    assert holds(wire, rpc_pb2.Compare(key=prefix, target=0, result=0))  # type: ignore[arg-type] # by number


def test_missing_operand_of_a_value_counts_as_empty(wire, prefix):
    wire.put(prefix, b"")
    assert holds(wire, rpc_pb2.Compare(key=prefix, target=3, result=0))  # type: ignore[arg-type] # by number


@pytest.fixture
def several(wire, prefix):
    """Keys a, b, c with versions 1, 2, 1 and values v, w, v."""
    for name, value in ((b"a", b"v"), (b"b", b""), (b"b", b"w"), (b"c", b"v")):
        wire.put(prefix + name, value)
    return prefix


def test_range_compare_holds_if_every_key_does(wire, several):
    assert holds(wire, compare(several, "version", ">", 0, end_of(several)))


def test_range_compare_fails_if_one_key_does_not(wire, several):
    assert not holds(wire, compare(several, "version", "=", 1, end_of(several)))


def test_range_compare_leaves_out_its_end(wire, several):
    assert holds(wire, compare(several + b"a", "version", "=", 1, several + b"b"))


def test_range_compare_of_values(wire, several):
    assert not holds(wire, compare(several, "value", "=", b"v", end_of(several)))
    assert holds(wire, compare(several, "value", ">", b"u", end_of(several)))


@pytest.mark.parametrize("target", ["version", "create_revision", "mod_revision", "lease"])
def test_range_compare_over_nothing_sees_zero(wire, prefix, target):
    assert holds(wire, compare(prefix, target, "=", 0, end_of(prefix)))
    assert not holds(wire, compare(prefix, target, ">", 0, end_of(prefix)))


@pytest.mark.surprise(6)
def test_range_compare_of_values_over_nothing_is_false(wire, prefix):
    assert not holds(wire, compare(prefix, "value", "!=", b"x", end_of(prefix)))


def test_range_compare_over_a_reversed_range_sees_zero(wire, several):
    assert holds(wire, compare(several + b"c", "version", "=", 0, several + b"a"))


def test_range_compare_with_open_end(wire, several):
    wire.put(several + b"\xff")
    assert holds(wire, compare(several, "mod_revision", ">", 0, b"\0"))


def test_lease_compare_tells_attached_from_detached(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, lease=attached)
    assert holds(wire, compare(prefix, "lease", "=", attached))
    wire.put(prefix)
    assert holds(wire, compare(prefix, "lease", "=", 0))
