"""The suite names every surprising behaviour of etcd that it is about."""

import re
from pathlib import Path

WIRE = {*range(1, 22), *range(23, 27), 29, 30, 31, 32, 40, 45}
COMMAND = {43, 44}
ELSEWHERE = {22, *range(33, 40), 27, 28, 41, 42, 46}  # auth, clusters, snapshots and the lock service


def test_each_surprise_has_a_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = {int(number) for number in re.findall(r"pytest\.mark\.surprise\((\d+)\)", text)}
    assert named == WIRE | COMMAND


def test_every_surprise_is_placed():
    assert {*WIRE, *COMMAND, *ELSEWHERE} == set(range(1, 47))
