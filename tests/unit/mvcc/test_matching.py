from __future__ import annotations

import random

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.mvcc.matching import WatcherIndex

KEYS = [bytes((a,)) + (bytes((b,)) if b else b"") for a in range(97, 103) for b in (0, 97, 98, 255)]


def wants(key: bytes, start: bytes, end: bytes | None) -> bool:
    if end == b"":
        return key == start
    return start <= key and (end is None or key < end)


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_exactly_what_a_list_would(seed):
    rng = random.Random(seed)
    index: WatcherIndex[int] = WatcherIndex()
    there: dict[int, tuple[bytes, bytes | None]] = {}
    for number in range(300):
        if there and rng.random() < 0.4:
            gone = rng.choice(sorted(there))
            index.remove(gone, *there.pop(gone))
        else:
            start, other = sorted(rng.sample(KEYS, 2))
            there[number] = start, rng.choice([b"", None, other, other])
            index.add(number, *there[number])
        index.check()
        key = rng.choice(KEYS)
        assert sorted(index.matching(key)) == [one for one in sorted(there) if wants(key, *there[one])]
    assert index.count == len(there)


def test_a_thousand_other_watchers_cost_few_looks():
    index: WatcherIndex[int] = WatcherIndex()
    for number in range(1000):
        index.add(number, b"/service/%04d/" % number, b"/service/%04d0" % number)

    class Counting(bytes):
        looks = 0

        def __lt__(self, other):
            Counting.looks += 1
            return bytes.__lt__(self, other)

        def __ge__(self, other):
            Counting.looks += 1
            return bytes.__ge__(self, other)

    assert index.matching(Counting(b"/service/0500/host")) == [500]
    assert Counting.looks < 100


def test_removing_what_is_not_there_is_a_defect():
    index: WatcherIndex[int] = WatcherIndex()
    index.add(1, b"a", b"c")
    with pytest.raises(KeyError):
        index.remove(2, b"a", b"c")
    with pytest.raises(InvariantBroken):
        index.add(1, b"a", b"c")
