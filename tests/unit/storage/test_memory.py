from __future__ import annotations

import random

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.storage.contract import Bucket
from coord.server.storage.memory import MemoryBackend


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_sorted_map(seed):
    rng = random.Random(seed)
    backend, expected = MemoryBackend(), {}
    for _ in range(400):
        key = b"%d" % rng.randint(0, 60)
        match rng.choice(["put", "put", "delete", "scan"]):
            case "put":
                expected[key] = b"v" * rng.randint(0, 9)
                backend.put(Bucket.KEY, key, expected[key])
            case "delete":
                expected.pop(key, None)
                backend.delete(Bucket.KEY, key)
            case _:
                start, end = b"%d" % rng.randint(0, 60), rng.choice([None, b"%d" % rng.randint(0, 60)])
                there = [(key, expected[key]) for key in sorted(expected) if key >= start and (not end or key < end)]
                assert list(backend.scan(Bucket.KEY, start, end)) == there
        assert backend.get(Bucket.KEY, key) == expected.get(key)
        assert backend.size == sum(len(key) + len(value) + 32 for key, value in expected.items())
    assert backend.get_many(Bucket.KEY, list(expected)) == list(expected.values())


def test_buckets_are_apart():
    backend = MemoryBackend()
    backend.put(Bucket.KEY, b"k", b"v")
    assert backend.get(Bucket.LEASE, b"k") is None


def test_a_missing_key_among_many_is_a_defect():
    with pytest.raises(InvariantBroken):
        MemoryBackend().get_many(Bucket.KEY, [b"k"])


def test_the_sealed_position_never_goes_back():
    backend = MemoryBackend()
    backend.seal(5, 1)
    backend.seal(5, 1)
    assert backend.applied == (5, 1)
    with pytest.raises(InvariantBroken):
        backend.seal(4, 1)


def test_a_copy_is_independent():
    backend = MemoryBackend()
    backend.put(Bucket.KEY, b"k", b"v")
    backend.seal(3, 1)
    twin = backend.copy()
    backend.put(Bucket.KEY, b"k", b"w")
    assert (twin.get(Bucket.KEY, b"k"), twin.applied, twin.size) == (b"v", (3, 1), 34)
