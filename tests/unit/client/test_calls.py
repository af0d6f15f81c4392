"""What each call is: its method, what repeating it does, what its answer proves."""

from __future__ import annotations

from typing import Any

import pytest

from coord import ops
from coord.client import calls
from coord.errors import Compacted, LeaseNotFound, RequestRefused, UsageError
from coord.wire import methods
from coord.wire.methods import Kind

WRITES = {
    "put": calls.put(ops.put("k")),
    "delete": calls.delete(ops.delete("k")),
    "txn": calls.txn(ops.Txn(then=(ops.put("k"),))),
    "nested txn": calls.txn(ops.Txn(then=(ops.Txn(otherwise=(ops.delete("k"),)),))),
    "grant with id": calls.grant(10, 7),
    "add member": calls.add_member(["http://a:1"], learner=False),
    "remove member": calls.remove_member(1),
    "promote member": calls.promote_member(1),
    "defragment": calls.defragment(),
    "move leader": calls.move_leader(1),
}

REPEATABLE = {
    "fetch": calls.fetch(ops.get("k")),
    "fetch one": calls.fetch_one(ops.get("k")),
    "reading txn": calls.txn(ops.Txn((ops.exists("k"),), (ops.get("k"),), (ops.get("l"),))),
    "compact": calls.compact(5, physical=False),
    "grant": calls.grant(10, 0),
    "revoke": calls.revoke(7),
    "keep alive": calls.keep_alive(7),
    "time to live": calls.time_to_live(7, keys=True),
    "leases": calls.leases(),
    "status": calls.status("a:1"),
    "members": calls.members(linearizable=True),
    "alarms": calls.alarms(),
    "hash": calls.hash_kv(0),
}


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
def test_what_must_not_be_sent_twice(call: calls.Call[Any]) -> None:
    assert call.write


@pytest.mark.parametrize("call", REPEATABLE.values(), ids=REPEATABLE)
def test_what_may_be_sent_twice(call: calls.Call[Any]) -> None:
    assert not call.write


@pytest.mark.parametrize("call", [*WRITES.values(), *REPEATABLE.values()], ids=[*WRITES, *REPEATABLE])
def test_messages_are_those_of_the_method(call: calls.Call[Any]) -> None:
    assert isinstance(call.request, call.method.request)
    assert call.method.kind is Kind.UNARY or call.method is methods.LEASE_KEEP_ALIVE


@pytest.mark.parametrize(
    ("call", "linearizable"),
    [
        (calls.put(ops.put("k")), True),
        (calls.delete(ops.delete("k")), True),
        (calls.fetch(ops.get("k")), True),
        (calls.fetch(ops.get("k", serializable=True)), False),
        (calls.fetch_one(ops.get("k", serializable=True)), False),
        (calls.txn(ops.Txn(then=(ops.put("k"),))), True),
        (calls.txn(ops.Txn(then=(ops.get("k"),))), True),
        (calls.txn(ops.Txn(then=(ops.get("k", serializable=True),))), False),
        (calls.txn(ops.Txn(then=(ops.get("k", serializable=True), ops.get("l")))), True),
        # etcd answers it from the member's own state.
        (calls.txn(ops.Txn()), False),
        (calls.status("a:1"), False),
        (calls.members(linearizable=True), False),
        (calls.keep_alive(1), False),
    ],
)
def test_whose_revision_proves_something(call: calls.Call[Any], linearizable: bool) -> None:
    assert call.linearizable is linearizable


def test_one_key_or_none() -> None:
    call = calls.fetch_one(ops.get("k"), b"ns/")
    response = call.method.response()
    assert call.read(response) is None
    response.kvs.add(key=b"ns/k", value=b"v")
    found = call.read(response)
    assert found is not None
    assert (found.key, found.value) == (b"k", b"v")


def test_renewal_of_what_is_gone() -> None:
    call = calls.keep_alive(0x1F)
    assert call.read(call.method.response(ID=0x1F, TTL=5)).ttl == 5
    with pytest.raises(LeaseNotFound) as caught:
        call.read(call.method.response(ID=0x1F, TTL=0))
    assert caught.value.lease == 0x1F
    assert "1f" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "refusal"), [(calls.revoke(7), LeaseNotFound), (calls.compact(5, physical=False), Compacted)]
)
def test_refusal_of_a_repetition_means_done(call: calls.Call[None], refusal: type[RequestRefused]) -> None:
    assert call.was_done(refusal("gone", attempts=2, unanswered=1))
    assert not call.was_done(refusal("gone", attempts=1, unanswered=0))
    assert not call.was_done(refusal("gone", attempts=2, unanswered=0)), "the first attempt was never sent"
    assert not call.was_done(RequestRefused("other", unanswered=1))
    assert not calls.put(ops.put("k")).was_done(refusal("gone", unanswered=1))


def test_wrong_arguments() -> None:
    for wrong in (0, -1):
        with pytest.raises(UsageError):
            calls.compact(wrong, physical=False)
        with pytest.raises(UsageError):
            calls.grant(wrong, 0)
