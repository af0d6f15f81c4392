"""Assertions that `python -O` cannot strip.

Bad input is an exception of the error tree; a broken invariant is a defect of ours and ends what is running, because a
coordination server that goes on after one tells lies.
"""

from __future__ import annotations

import os

DEEP = os.environ.get("COORD_DEEP_CHECKS") == "1"
"""Turns on checks that cost more than O(1); the test suite sets it."""


class InvariantBroken(AssertionError):
    """Something that must always hold did not."""


def invariant(condition: object, what: str, **facts: object) -> None:
    """Raise `InvariantBroken` with `what` and the facts if `condition` is false.

    Raises:
        InvariantBroken: the condition is false.
    """
    if not condition:
        detail = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        raise InvariantBroken(f"{what} ({detail})" if detail else what)
