from __future__ import annotations

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.mvcc.index import KeyIndex
from coord.server.mvcc.records import TOMBSTONE, revision_key


def test_versions_count_from_one_in_each_incarnation():
    index = KeyIndex()
    assert index.put(b"k", 2, 0)[:2] == (2, 1)
    assert index.put(b"k", 3, 0)[:2] == (2, 2)
    index.delete(b"k", 4, 0)
    assert index.put(b"k", 5, 0)[:2] == (5, 1)
    assert index.incarnation(b"k") == (5, 5, 1)
    index.check()


def test_find_sees_the_newest_up_to_a_revision():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.put(b"k", 5, 3)
    index.delete(b"k", 7, 1)
    index.put(b"k", 9, 0)
    found = [index.find(b"k", revision) for revision in range(1, 11)]
    at = {2: revision_key(2, 0), 5: revision_key(5, 3), 9: revision_key(9, 0)}
    assert found == [None, at[2], at[2], at[2], at[5], at[5], None, None, at[9], at[9]]


def test_put_and_delete_in_one_revision_leave_the_later():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.delete(b"k", 2, 1)
    assert index.find(b"k", 2) is None
    index.put(b"l", 3, 0)
    index.delete(b"l", 4, 0)
    index.put(b"l", 4, 1)
    assert index.find(b"l", 4) == revision_key(4, 1)
    index.check()


def test_count_and_select_see_live_keys_only():
    index = KeyIndex()
    for main, key in enumerate((b"a", b"b", b"c", b"d"), 2):
        index.put(key, main, 0)
    index.delete(b"b", 9, 0)
    assert index.select(b"a", b"d") == [b"a", b"c"]
    assert index.count(b"a", b"d") == 2
    assert index.select(b"a", None, 2) == [b"a", b"c"]
    assert index.count(b"b", None) == 2
    assert index.known(b"a", b"d") == [b"a", b"b", b"c"]
    assert index.known(b"a", b"d", 2) == [b"a", b"b"]
    assert index.known_count(b"a", b"d") == 3
    assert index.count(b"d", b"a") == index.known_count(b"d", b"a") == 0


def test_revisions_come_in_order_with_tombstones_marked():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.delete(b"k", 3, 0)
    index.put(b"k", 4, 0)
    tombstone = revision_key(3, 0) + TOMBSTONE
    assert index.revisions(b"k", 0, 9) == [revision_key(2, 0), tombstone, revision_key(4, 0)]
    assert index.revisions(b"k", 3, 9) == [tombstone, revision_key(4, 0)]
    assert index.revisions(b"k", 3, 1) == [tombstone]
    assert index.revisions(b"k", 5, 9) == []
    assert index.revisions(b"unknown", 0, 9) == []


def test_a_limit_of_revisions_takes_whole_ones():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.delete(b"k", 3, 0)
    index.put(b"k", 3, 1)
    index.put(b"k", 4, 0)
    assert index.revisions(b"k", 2, 2) == [revision_key(2, 0), revision_key(3, 0) + TOMBSTONE, revision_key(3, 1)]


@pytest.mark.parametrize(
    ("revision", "dropped", "left"),
    [
        (1, [], [2, 4, 6]),
        (2, [], [2, 4, 6]),
        (3, [], [2, 4, 6]),
        (4, [2], [4, 6]),
        (5, [2], [4, 6]),
        (6, [2, 4], [6]),
        (9, [2, 4], [6]),
    ],
)
def test_scrub_keeps_the_newest_up_to_the_mark(revision, dropped, left):
    index = KeyIndex()
    for main in (2, 4, 6):
        index.put(b"k", main, 0)
    assert index.scrub(b"k", revision) == [revision_key(main, 0) for main in dropped]
    assert index.revisions(b"k", 0, 9) == [revision_key(main, 0) for main in left]
    index.check()


def test_scrub_drops_a_tombstone_below_the_mark_and_keeps_one_at_it():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.delete(b"k", 4, 0)
    assert index.scrub(b"k", 4) == [revision_key(2, 0)]
    assert index.revisions(b"k", 0, 9) == [revision_key(4, 0) + TOMBSTONE]
    index.check()
    assert index.scrub(b"k", 5) == [revision_key(4, 0) + TOMBSTONE]
    assert index.known_count(b"", None) == 0
    index.check()


def test_check_finds_what_is_wrong():
    index = KeyIndex()
    index.put(b"k", 2, 0)
    index.past[b"other"] = bytearray(revision_key(1, 0) + b"\0")
    with pytest.raises(InvariantBroken):
        index.check()


def test_deleting_what_is_not_there_is_a_defect():
    with pytest.raises(InvariantBroken):
        KeyIndex().delete(b"k", 2, 0)
