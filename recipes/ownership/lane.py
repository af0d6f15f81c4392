"""Lanes: whose places stand in whose way. What makes one queue that of a lock, of readers or of writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from coord.recipes.common.layout import contender_prefix, is_contender


@dataclass(frozen=True, slots=True)
class Lane:
    """Where places stand, and which of the earlier ones must go first.

    Attributes:
        own: what an own place stands under.
        rivals: what the keys begin with that must go first if they were created earlier.
        is_rival: tells such a place from anything else that is stored there.
    """

    own: bytes
    rivals: bytes
    is_rival: Callable[[bytes], bool]


def exclusive(name: bytes) -> Lane:
    """One owner at a time: a lock, an election."""
    return Lane(name, contender_prefix(name), partial(is_contender, name))
