"""Who takes the next call: each balance by itself, over many instances and many calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coord.errors import UsageError
from coord.recipes.registry.balance import Balance, balance_of
from coord.recipes.registry.instance import Instance, new_instance

NAMES = ("round_robin", "random", "weighted", "least_loaded", "sticky", "zone_first")


def made(*weights: int, zones: Sequence[str] = ("",)) -> list[Instance]:
    return [
        new_instance("s", f"{number}:1", id=f"i{number:04}", weight=weight, zone=zones[number % len(zones)])
        for number, weight in enumerate(weights)
    ]


def balance(name: str, zone: str | None = None, seed: int = 1) -> Balance:
    return balance_of(name, zone, random.Random(seed))


def shares(how: Balance, among: Sequence[Instance], calls: int) -> list[float]:
    counts = Counter(how.choose(among, b"%d" % number, {}).id for number in range(calls))
    return [counts[each.id] / calls for each in among]


weights = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(weights, st.sampled_from(NAMES), st.integers(0, 9))
def test_every_choice_is_one_of_them(heavy: list[int], name: str, seed: int) -> None:
    among = made(*heavy)
    how = balance(name, "a" if name == "zone_first" else None, seed)
    assert all(how.choose(among, b"%d" % number, {}) in among for number in range(5))


@given(st.integers(1, 9), st.integers(0, 99))
def test_round_robin_meets_each_before_any_again(count: int, seed: int) -> None:
    among = made(*[1] * count)
    how = balance("round_robin", seed=seed)
    for _ in range(3):
        assert {how.choose(among, None, {}).id for _ in among} == {each.id for each in among}


def test_round_robin_does_not_begin_at_the_same_one_everywhere() -> None:
    among = made(*[1] * 10)
    firsts = Counter(balance("round_robin", seed=seed).choose(among, None, {}).id for seed in range(200))
    assert len(firsts) == 10


@pytest.mark.parametrize("name", ["weighted", "sticky", "zone_first"])
@pytest.mark.parametrize("heavy", [(1, 1, 1, 1), (1, 2, 5), (10, 1), (1,)])
def test_calls_are_shared_by_weight(name: str, heavy: tuple[int, ...]) -> None:
    among = made(*heavy, zones=("a",))
    found = shares(balance(name, "a" if name == "zone_first" else None), among, 20_000)
    assert found == pytest.approx([each / sum(heavy) for each in heavy], abs=0.015)


def test_random_is_even_whatever_the_weights() -> None:
    assert shares(balance("random"), made(1, 9, 1), 20_000) == pytest.approx([1 / 3] * 3, abs=0.015)


# --- least loaded


def test_the_one_with_fewest_calls_under_way() -> None:
    among = made(1, 1, 1)
    load = {among[0].key: 2, among[2].key: 1}
    assert balance("least_loaded").choose(among, None, load) is among[1]


def test_a_heavier_one_takes_more_calls() -> None:
    among = made(1, 3)
    load: Counter[bytes] = Counter()
    how = balance("least_loaded")
    for _ in range(40):
        load[how.choose(among, None, load).key] += 1
    assert [load[each.key] for each in among] == [10, 30]


def test_equals_share() -> None:
    assert shares(balance("least_loaded"), made(1, 1), 10_000) == pytest.approx([0.5, 0.5], abs=0.02)


@given(weights, st.data())
def test_nobody_would_have_been_less_loaded(heavy: list[int], data: Any) -> None:
    among = made(*heavy)
    load = {each.key: data.draw(st.integers(0, 9)) for each in among}
    chosen = balance("least_loaded").choose(among, None, load)
    assert all((load[chosen.key] + 1) / chosen.weight <= (load[each.key] + 1) / each.weight for each in among)


# --- sticky


def owners(among: Sequence[Instance], keys: int = 200) -> dict[int, str]:
    how = balance("sticky")
    return {key: how.choose(among, b"%d" % key, {}).id for key in range(keys)}


@given(weights, st.integers(0, 7), st.randoms())
def test_when_one_leaves_only_its_keys_move(heavy: list[int], which: int, chance: random.Random) -> None:
    among = made(*heavy, 1)
    leaves = among[which % len(among)]
    rest = [each for each in among if each is not leaves]
    chance.shuffle(rest)
    before, after = owners(among), owners(rest)
    assert {key for key in before if before[key] != after[key]} == {key for key in before if before[key] == leaves.id}


def test_a_heavier_weight_only_draws_keys_to_it() -> None:
    before, after = owners(made(1, 1, 1)), owners(made(1, 3, 1))
    moved = {after[key] for key in before if before[key] != after[key]}
    assert moved == {"i0001"}


def test_sticky_is_the_same_in_every_process() -> None:
    """The assignment is part of the behaviour that other versions of coord must share."""
    found = owners(made(*[1] * 5))
    assert [found[key] for key in range(8)] == ["i0002", "i0001", "i0004", "i0002", "i0002", "i0003", "i0001", "i0004"]


def test_sticky_needs_a_key() -> None:
    with pytest.raises(UsageError, match="by a key"):
        balance("sticky").choose(made(1), None, {})


def test_a_weight_that_no_float_holds_is_a_heavy_one() -> None:
    among = made(1, 10**400)
    for name in ("weighted", "least_loaded", "sticky"):
        assert balance(name).choose(among, b"k", {}) is among[1]


# --- zones


def test_the_own_zone_goes_first() -> None:
    among = made(*[1] * 9, zones=("a", "b", "c"))
    how = balance("zone_first", "b")
    assert {how.choose(among, None, {}).zone for _ in range(100)} == {"b"}


def test_an_empty_zone_spills_over_and_is_preferred_again() -> None:
    how = balance("zone_first", "b")
    elsewhere = made(*[1] * 4, zones=("a", "c"))
    assert {how.choose(elsewhere, None, {}).zone for _ in range(100)} == {"a", "c"}
    back = [*elsewhere, new_instance("s", "x", zone="b", id="z")]
    assert {how.choose(back, None, {}).zone for _ in range(100)} == {"b"}


@pytest.mark.parametrize(
    ("name", "zone", "says"),
    [
        ("fastest", None, "round_robin, random, weighted, least_loaded, sticky, zone_first, not 'fastest'"),
        (None, None, "not None"),
        ("zone_first", None, "needs the zone="),
        ("random", "a", "nothing else has one"),
        ("zone_first", "", "is text"),
        ("zone_first", 5, "is text"),
    ],
)
def test_what_is_no_balance(name: Any, zone: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        balance_of(name, zone, random.Random(1))
