"""Lanes: whose places stand in whose way. What makes one queue that of a lock, of readers or of writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from coord.recipes.common.layout import both_of, contender_prefix, is_contender, permits_of, readers_of, writers_of


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


def reading(name: bytes) -> Lane:
    """A reader lets earlier writers go first, whether they have entered or wait; other readers are no matter to it."""
    writers = writers_of(name)
    return Lane(readers_of(name), contender_prefix(writers), partial(is_contender, writers))


def writing(name: bytes) -> Lane:
    """A writer lets everybody go first who came earlier."""
    return Lane(writers_of(name), both_of(name), partial(_reads_or_writes, readers_of(name), writers_of(name)))


def permitted(name: bytes) -> Lane:
    """The holders of permits and those who wait for one."""
    places = permits_of(name)
    return Lane(places, contender_prefix(places), partial(is_contender, places))


def _reads_or_writes(readers: bytes, writers: bytes, key: bytes) -> bool:
    return is_contender(readers, key) or is_contender(writers, key)
