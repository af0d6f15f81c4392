"""The transaction builder."""

from __future__ import annotations

import pytest

from coord import ops
from coord.builder import TxnBuilder
from coord.errors import UsageError
from coord.ops import Txn, exists, value


def test_words_add_up() -> None:
    built = (
        TxnBuilder()
        .when(exists("a"))
        .when(value("b") == "x", value("c") != "y")
        .put("k", "v", lease=5, previous=True)
        .get("g/", prefix=True, limit=3)
        .delete("d", range_end="e", previous=True)
        .then(ops.put("l"))
        .otherwise(ops.get("k"), Txn())
    )
    assert built.op == Txn(
        (exists("a"), value("b") == "x", value("c") != "y"),
        (
            ops.put("k", "v", lease=5, previous=True),
            ops.get("g/", prefix=True, limit=3),
            ops.delete("d", range_end="e", previous=True),
            ops.put("l"),
        ),
        (ops.get("k"), Txn()),
    )
    assert repr(built) == "<TxnBuilder when=3 then=4 otherwise=2>"


def test_nothing() -> None:
    assert TxnBuilder().op == Txn()


def test_what_was_built_does_not_change_afterwards() -> None:
    builder = TxnBuilder().put("a")
    first = builder.op
    builder.put("b")
    assert first == Txn(then=(ops.put("a"),))


@pytest.mark.parametrize("wrong", [True, None, "k", exists])
def test_what_is_no_condition(wrong: object) -> None:
    with pytest.raises(UsageError):
        TxnBuilder().when(wrong)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("wrong", [None, "k", exists("a"), TxnBuilder()])
def test_what_is_no_operation(wrong: object) -> None:
    for add in (TxnBuilder().then, TxnBuilder().otherwise):
        with pytest.raises(UsageError):
            add(wrong)  # type: ignore[arg-type]  # the point of the test
