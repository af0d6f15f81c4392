"""Which endpoint is asked."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from coord.client.connection.endpoints import REST_FIRST, REST_LIMIT, Endpoints
from coord.client.connection.urls import Endpoint
from coord.errors import UsageError

A, B, C = (Endpoint(name) for name in ("a:1", "b:1", "c:1"))


def made(*endpoints: Endpoint, seed: int = 0) -> Endpoints:
    return Endpoints(endpoints or (A, B, C), random.Random(seed))


def test_first_choice_is_random_and_stays() -> None:
    firsts: Counter[object] = Counter()
    for seed in range(60):
        known = made(seed=seed)
        first = known.choose(0.0)
        firsts[first] += 1
        assert {known.choose(float(now)) for now in range(50)} == {first}
        assert known.current == first
    assert set(firsts) == {A, B, C}
    assert min(firsts.values()) > 8


def test_failed_one_is_left_and_rests() -> None:
    known = made()
    first = known.choose(0.0)
    known.failed(first, 0.0)
    assert known.current is None
    others = set()
    for _ in range(30):
        others.add(known.choose(REST_FIRST / 2 - 0.01))
        known._current = None
    assert others == {A, B, C} - {first}


def test_it_comes_back_after_its_rest() -> None:
    known = made(A, B)
    known.failed(A, 0.0)
    seen = set()
    for _ in range(30):
        seen.add(known.choose(REST_FIRST))
        known._current = None
    assert seen == {A, B}


def test_rest_doubles_up_to_a_limit_and_success_forgets() -> None:
    known = made(A, B)
    now = 0.0
    rests = []
    for _ in range(12):
        known.failed(A, now)
        rest = known._states[A].until - now
        rests.append(rest)
        now = known._states[A].until
    for number, rest in enumerate(rests):
        longest = min(REST_LIMIT, REST_FIRST * 2**number)
        assert longest / 2 <= rest <= longest
    known.worked(A)
    known.failed(A, now)
    assert known._states[A].until - now <= REST_FIRST


def test_many_calls_that_fail_together_are_one_failure() -> None:
    known = made(A, B)
    for _ in range(20):
        known.failed(A, 0.0)
    assert known._states[A].until <= REST_FIRST


def test_a_single_endpoint_is_never_shut_out() -> None:
    known = made(A)
    for now in range(20):
        known.failed(A, float(now))
        assert known.choose(float(now)) == A


def test_all_resting_the_one_that_is_back_first() -> None:
    known = made(A, B)
    for _ in range(5):
        known.failed(A, known._states[A].until)
    known.failed(B, 0.0)
    assert known.choose(0.0) == B


def test_avoided_ones_come_last() -> None:
    known = made()
    first = known.choose(0.0)
    second = known.choose(0.0, {first})
    assert second != first
    third = known.choose(0.0, {first, second})
    assert {first, second, third} == {A, B, C}
    assert known.choose(0.0, {A, B, C}) in {A, B, C}


def test_a_resting_one_is_better_than_an_avoided_one() -> None:
    known = made(A, B)
    known.failed(B, 0.0)
    assert known.choose(0.0, {A}) == B


def test_others() -> None:
    known = made(A, B)
    assert known.others(A, 0.0)
    assert not known.others(A, 0.0, {B})
    known.failed(B, 0.0)
    assert not known.others(A, 0.0)
    assert known.others(A, REST_FIRST)


def test_replacing_keeps_what_is_known() -> None:
    known = made(A, B)
    known.failed(A, 0.0)
    known.choose(0.0)
    known.replace((A, C))
    assert known.all == (A, C)
    assert known.current is None
    assert known.choose(0.0) == C
    known.failed(B, 0.0)
    known.worked(B)
    with pytest.raises(UsageError):
        known.replace(())
