"""Who is left out after failures, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coord.recipes.registry.ejection import Ejections

MANY = [b"a", b"b", b"c", b"d"]


def test_out_for_a_while_longer_each_time_up_to_a_limit() -> None:
    ejections = Ejections(first=5, longest=18)
    now, lengths = 0.0, []
    for _ in range(5):
        ejections.failed(b"a", now)
        assert ejections.out(MANY, now) == {b"a"}
        back = ejections.changes_at(now)
        assert ejections.out(MANY, back - 0.01) == {b"a"}
        assert ejections.out(MANY, back) == set()
        lengths.append(back - now)
        now = back
    assert lengths == [5, 10, 18, 18, 18]
    assert ejections.changes_at(now) == float("inf")


def test_calls_that_were_under_way_count_once() -> None:
    ejections = Ejections(first=5)
    for now in (0.0, 1.0, 4.9):
        ejections.failed(b"a", now)
    assert ejections.changes_at(4.9) == 5


def test_who_was_fine_for_twice_as_long_begins_anew() -> None:
    late, soon = Ejections(first=5), Ejections(first=5)
    for ejections, again in ((soon, 14.5), (late, 15.0)):
        ejections.failed(b"a", 0)
        ejections.failed(b"a", again)
    assert (soon.changes_at(15) - 14.5, late.changes_at(15) - 15) == (10, 5)


def test_a_lone_one_is_never_out() -> None:
    ejections = Ejections()
    ejections.failed(b"a", 0)
    assert ejections.out([b"a"], 1) == set()
    assert ejections.out([b"a", b"b"], 1) == {b"a"}
    assert ejections.out([b"b", b"c"], 1) == set(), "who is not there takes nobody's place"


def test_when_all_fail_those_come_back_first_that_would_anyway() -> None:
    ejections = Ejections(first=5)
    for number, key in enumerate(MANY):
        ejections.failed(key, number)
    assert ejections.out(MANY, 4) == {b"c", b"d"}


@given(st.lists(st.tuples(st.sampled_from(MANY), st.floats(0, 30)), max_size=40), st.sets(st.sampled_from(MANY)))
def test_never_more_than_half_and_never_for_ever(failures: list[tuple[bytes, float]], there: set[bytes]) -> None:
    ejections = Ejections(first=5, longest=60)
    now = 0.0
    for key, later in failures:
        now += later
        ejections.failed(key, now)
        out = ejections.out(there, now)
        assert out <= there
        assert len(out) <= len(there) // 2
        assert now < ejections.changes_at(now) <= now + 60
    assert ejections.out(there, now + 60) == set()
