"""Range: intervals, revisions, limit, count, more, sorting, filters."""

import pytest

from tests.conformance.errors import FUTURE, INVALID_SORT, KEY_NOT_PROVIDED
from tests.conformance.wire import end_of, keys, pairs, refused

NONE, ASCEND, DESCEND = 0, 1, 2
KEY, VERSION, CREATE, MOD, VALUE = range(5)


@pytest.fixture
def letters(wire, prefix):
    """Keys a-e; every order differs from every other: by version, by creation, by change, by value."""
    for letter in b"dbaec":
        wire.put(prefix + bytes([letter]), b"first")
    for letter, value in zip(b"becad", [b"3", b"1", b"5", b"2", b"4"], strict=True):
        wire.put(prefix + bytes([letter]), value)
    for name, times in ((b"a", 3), (b"b", 1), (b"c", 4), (b"e", 2)):
        value = wire.get(prefix + name).value
        for _ in range(times):
            wire.put(prefix + name, value)
    return prefix


def names(response, prefix):
    return b"".join(kv.key[len(prefix) :] for kv in response.kvs).decode()


def all_of(wire, prefix, **fields):
    return names(wire.range(prefix, end_of(prefix), **fields), prefix)


def test_missing_key(wire, prefix):
    response = wire.range(prefix)
    assert (response.count, list(response.kvs), response.more) == (0, [], False)


def test_single_key_only_matches_exactly(wire, letters):
    wire.put(letters + b"aa")
    assert names(wire.range(letters + b"a"), letters) == "a"


def test_prefix(wire, letters):
    assert all_of(wire, letters) == "abcde"


def test_half_open_interval(wire, letters):
    assert names(wire.range(letters + b"b", letters + b"d"), letters) == "bc"


def test_interval_need_not_begin_at_a_key(wire, letters):
    assert names(wire.range(letters + b"aa", letters + b"cc"), letters) == "bc"


def test_open_end_includes_everything_above(wire, letters):
    found = wire.range(letters + b"d", b"\0")
    assert keys(found.kvs)[:2] == [letters + b"d", letters + b"e"]
    assert found.count == len(found.kvs)


def test_all_keys(fresh):
    wire = fresh()
    for key in (b"\0", b"a", b"\xff\xff"):
        wire.put(key)
    assert keys(wire.range(b"\0", b"\0").kvs) == [b"\0", b"a", b"\xff\xff"]


@pytest.mark.surprise(2)
@pytest.mark.parametrize("end", [b"a", b"b", b"B"], ids=["equal", "smaller", "much smaller"])
def test_reversed_or_empty_interval_is_empty_not_an_error(wire, letters, end):
    start = letters + (b"a" if end == b"a" else b"c")
    response = wire.range(start, letters + end)
    assert (response.count, list(response.kvs), response.more) == (0, [], False)


def test_keys_are_ordered_as_unsigned_bytes(wire, prefix):
    for key in (b"\xff", b"\x7f", b"\x80", b"\0", b"\0\0", b"a"):
        wire.put(prefix + key)
    found = [kv.key[len(prefix) :] for kv in wire.range(prefix, end_of(prefix)).kvs]
    assert found == [b"\0", b"\0\0", b"a", b"\x7f", b"\x80", b"\xff"]


@pytest.mark.parametrize("end", [b"", b"z", b"\0"], ids=repr)
def test_empty_key_is_refused(wire, end):
    with refused(KEY_NOT_PROVIDED):
        wire.range(b"", end)


def test_old_revision_shows_the_old_value(wire, prefix):
    first = wire.put(prefix, b"1").header.revision
    wire.put(prefix, b"2")
    kv = wire.get(prefix, revision=first)
    assert (kv.value, kv.version, kv.mod_revision) == (b"1", 1, first)


def test_old_revision_does_not_show_later_keys(wire, prefix):
    first = wire.put(prefix + b"a").header.revision
    wire.put(prefix + b"b")
    assert all_of(wire, prefix, revision=first) == "a"
    assert wire.range(prefix, end_of(prefix), revision=first).count == 1


def test_header_of_an_old_read_has_the_current_revision(wire, prefix):
    first = wire.put(prefix).header.revision
    second = wire.put(prefix).header.revision
    assert wire.range(prefix, revision=first).header.revision == second


@pytest.mark.surprise(14)
@pytest.mark.parametrize("revision", [-1, -(2**62)])
def test_negative_revision_is_the_current_one(wire, prefix, revision):
    wire.put(prefix, b"1")
    wire.put(prefix, b"2")
    assert wire.get(prefix, revision=revision).value == b"2"


def test_current_revision_can_be_named(wire, prefix):
    revision = wire.put(prefix, b"v").header.revision
    assert wire.get(prefix, revision=revision).value == b"v"


@pytest.mark.parametrize("serializable", [False, True])
def test_future_revision_is_refused(wire, prefix, serializable):
    with refused(FUTURE):
        wire.range(prefix, revision=wire.revision() + 1, serializable=serializable)


def test_serializable_read(wire, prefix):
    wire.put(prefix, b"v")
    assert wire.get(prefix, serializable=True).value == b"v"


def test_limit_cuts_in_key_order(wire, letters):
    response = wire.range(letters, end_of(letters), limit=2)
    assert (names(response, letters), response.more, response.count) == ("ab", True, 5)


def test_limit_equal_to_the_number_has_no_more(wire, letters):
    response = wire.range(letters, end_of(letters), limit=5)
    assert (names(response, letters), response.more, response.count) == ("abcde", False, 5)


def test_limit_above_the_number(wire, letters):
    response = wire.range(letters, end_of(letters), limit=100)
    assert (names(response, letters), response.more, response.count) == ("abcde", False, 5)


@pytest.mark.surprise(3)
def test_negative_limit_is_no_limit(wire, letters):
    response = wire.range(letters, end_of(letters), limit=-1)
    assert (names(response, letters), response.more) == ("abcde", False)


def test_limit_at_an_old_revision(wire, prefix):
    for name in (b"a", b"b"):
        wire.put(prefix + name)
    revision = wire.revision()
    wire.put(prefix + b"0")
    response = wire.range(prefix, end_of(prefix), revision=revision, limit=1)
    assert (names(response, prefix), response.more, response.count) == ("a", True, 2)


def test_limit_on_a_single_key(wire, letters):
    response = wire.range(letters + b"a", limit=1)
    assert (response.count, response.more) == (1, False)


def test_count_only(wire, letters):
    response = wire.range(letters, end_of(letters), count_only=True)
    assert (list(response.kvs), response.count, response.more) == ([], 5, False)


def test_count_only_ignores_limit_and_filters(wire, letters):
    response = wire.range(letters, end_of(letters), count_only=True, limit=2, min_mod_revision=2**60)
    assert (list(response.kvs), response.count, response.more) == ([], 5, False)


def test_count_only_at_an_old_revision(wire, prefix):
    revision = wire.put(prefix + b"a").header.revision
    wire.put(prefix + b"b")
    assert wire.range(prefix, end_of(prefix), count_only=True, revision=revision).count == 1


def test_keys_only_leaves_out_values(wire, letters):
    response = wire.range(letters, end_of(letters), keys_only=True)
    assert pairs(response.kvs) == [(letters + bytes([name]), b"") for name in b"abcde"]


def test_keys_only_keeps_revisions_version_and_lease(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, b"1")
    wire.put(prefix, b"2", lease=attached)
    full, bare = wire.get(prefix), wire.get(prefix, keys_only=True)
    full.value = b""
    assert bare == full


@pytest.mark.surprise(4)
@pytest.mark.parametrize(
    ("target", "order"),
    [(KEY, "abcde"), (VERSION, "dbeac"), (CREATE, "dbaec"), (MOD, "dabce"), (VALUE, "eabdc")],
    ids=["key", "version", "create", "mod", "value"],
)
@pytest.mark.parametrize("sort", [NONE, ASCEND, DESCEND], ids=["none", "ascend", "descend"])
def test_sorting(wire, letters, target, order, sort):
    found = all_of(wire, letters, sort_order=sort, sort_target=target)
    assert found == (order[::-1] if sort == DESCEND else order)


def test_sorting_at_an_old_revision(wire, prefix):
    wire.put(prefix + b"a", b"2")
    revision = wire.put(prefix + b"b", b"1").header.revision
    wire.put(prefix + b"a", b"0")
    assert all_of(wire, prefix, sort_order=ASCEND, sort_target=VALUE, revision=revision) == "ba"


def test_sorting_is_before_the_limit(wire, letters):
    response = wire.range(letters, end_of(letters), sort_order=DESCEND, sort_target=KEY, limit=2)
    assert (names(response, letters), response.more, response.count) == ("ed", True, 5)


def test_sort_by_value_with_keys_only_uses_the_values(wire, letters):
    response = wire.range(letters, end_of(letters), sort_order=ASCEND, sort_target=VALUE, keys_only=True)
    assert names(response, letters) == "eabdc"
    assert {kv.value for kv in response.kvs} == {b""}


@pytest.mark.surprise(4)
@pytest.mark.parametrize(("sort", "found"), [(NONE, "ab"), (ASCEND, "ea")], ids=["none", "ascend"])
def test_unordered_sort_cuts_by_key_first(wire, letters, sort, found):
    assert all_of(wire, letters, sort_order=sort, sort_target=VALUE, limit=2) == found


@pytest.mark.surprise(4)
@pytest.mark.parametrize("target", [VERSION, CREATE, MOD, VALUE], ids=["version", "create", "mod", "value"])
def test_unordered_sort_fetches_one_more_than_the_limit(wire, letters, target):
    # limit + 1 keys are fetched to know whether there are more; all of them are sorted, and the first are kept
    of_three = {VERSION: "ba", CREATE: "ba", MOD: "ab", VALUE: "ab"}[target]
    response = wire.range(letters, end_of(letters), sort_target=target, limit=2)
    assert (names(response, letters), response.more, response.count) == (of_three, True, 5)


@pytest.mark.parametrize("order", [3, 7, -1])
def test_unknown_sort_order(wire, letters, order, expected):
    answer = expected("range: unknown sort_order")
    if answer == "refused":
        with refused(INVALID_SORT):
            wire.range(letters, end_of(letters), sort_order=order)
    else:
        assert all_of(wire, letters, sort_order=order) == "abcde"


@pytest.mark.surprise(5)
@pytest.mark.unsafe("range: unknown sort_target")
@pytest.mark.parametrize("target", [5, -1])
def test_unknown_sort_target(wire, letters, target):
    with refused(INVALID_SORT):
        wire.range(letters, end_of(letters), sort_target=target)


@pytest.mark.surprise(45)
@pytest.mark.unsafe("range: unknown sort_target")
def test_unknown_sort_target_of_a_missing_key(wire, prefix):
    with refused(INVALID_SORT):
        wire.range(prefix, sort_target=9)


@pytest.mark.unsafe("range: unknown sort_target")
def test_empty_key_is_refused_before_the_sort_option(wire):
    with refused(KEY_NOT_PROVIDED):
        wire.range(b"", sort_target=9)


@pytest.fixture
def history(wire, prefix):
    """Keys a-d created in this order, then b and a changed; returns the prefix and the revision before the first."""
    before = wire.revision()
    for name in b"abcdba":
        wire.put(prefix + bytes([name]))
    return prefix, before


@pytest.mark.parametrize(
    ("field", "offset", "found"),
    [
        ("min_mod_revision", 5, "ab"),
        ("min_mod_revision", 6, "a"),
        ("max_mod_revision", 4, "cd"),
        ("max_mod_revision", 3, "c"),
        ("min_create_revision", 2, "bcd"),
        ("min_create_revision", 4, "d"),
        ("max_create_revision", 2, "ab"),
        ("max_create_revision", 1, "a"),
    ],
)
def test_filter_by_revision(wire, history, field, offset, found):
    prefix, before = history
    assert all_of(wire, prefix, **{field: before + offset}) == found


def test_filters_combine(wire, history):
    prefix, before = history
    fields = {"min_mod_revision": before + 3, "max_mod_revision": before + 5, "max_create_revision": before + 3}
    assert all_of(wire, prefix, **fields) == "bc"


@pytest.mark.surprise(3)
def test_count_ignores_filters(wire, history):
    prefix, before = history
    response = wire.range(prefix, end_of(prefix), min_mod_revision=before + 6)
    assert (names(response, prefix), response.count, response.more) == ("a", 4, False)


def test_everything_filtered_away(wire, history):
    prefix, _ = history
    response = wire.range(prefix, end_of(prefix), min_create_revision=2**60, limit=1)
    assert (list(response.kvs), response.count, response.more) == ([], 4, False)


@pytest.mark.surprise(3)
@pytest.mark.parametrize(("limit", "found", "more"), [(1, "c", True), (2, "cd", False), (3, "cd", False)])
def test_more_is_counted_after_the_filters(wire, history, limit, found, more):
    prefix, before = history
    response = wire.range(prefix, end_of(prefix), max_mod_revision=before + 4, limit=limit)
    assert (names(response, prefix), response.more) == (found, more)


@pytest.mark.parametrize("field", ["max_mod_revision", "max_create_revision"])
def test_negative_maximum_filters_everything(wire, history, field):
    prefix, _ = history
    assert all_of(wire, prefix, **{field: -1}) == ""


@pytest.mark.parametrize("field", ["min_mod_revision", "min_create_revision"])
def test_negative_minimum_filters_nothing(wire, history, field):
    prefix, _ = history
    assert all_of(wire, prefix, **{field: -1}) == "abcd"


def test_filter_with_descending_order_and_limit(wire, history):
    prefix, before = history
    fields = {"min_create_revision": before + 2, "sort_order": DESCEND, "limit": 2}
    response = wire.range(prefix, end_of(prefix), **fields)
    assert (names(response, prefix), response.more, response.count) == ("dc", True, 4)


def test_filter_with_unordered_sort_sorts_before_the_limit(wire, prefix):
    for name, value in ((b"1", b"b"), (b"2", b"c"), (b"3", b"a")):
        wire.put(prefix + name, value)
    fields = {"sort_target": VALUE, "limit": 1, "min_mod_revision": 1}
    assert all_of(wire, prefix, **fields) == "3"


def test_filter_on_a_single_key(wire, prefix):
    revision = wire.put(prefix).header.revision
    response = wire.range(prefix, max_mod_revision=revision - 1)
    assert (list(response.kvs), response.count) == ([], 1)


def test_filters_at_an_old_revision(wire, history):
    prefix, before = history
    assert all_of(wire, prefix, revision=before + 4, min_mod_revision=before + 3) == "cd"


def test_result_of_several_megabytes_comes_in_one_message(wire, prefix):
    for number in range(6):
        wire.put(prefix + b"%d" % number, b"x" * 1_000_000)
    assert sum(len(kv.value) for kv in wire.range(prefix, end_of(prefix)).kvs) == 6_000_000
    wire.delete(prefix, end_of(prefix))


def test_a_thousand_keys(wire, prefix):
    from tests.conformance.wire import op_put

    for start in range(0, 1000, 100):
        wire.txn(success=[op_put(prefix + b"%04d" % number) for number in range(start, start + 100)])
    response = wire.range(prefix, end_of(prefix), limit=999)
    assert (len(response.kvs), response.more, response.count) == (999, True, 1000)
    assert keys(response.kvs) == sorted(keys(response.kvs))
