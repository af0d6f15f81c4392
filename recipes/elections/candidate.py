"""Who stands for election: the keys in the queue for a name, oldest first; the first one leads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from coord.keys import to_bytes
from coord.model import KeyValue
from coord.recipes.common.layout import is_contender
from coord.recipes.ownership.owner import Owner, parse_owner

# With a number behind the lease: made by coord, whose candidates stand again when their key is deleted. One of Go's
# does not look at its own key, and would believe that it leads.
_STEPS_BEHIND: Final = re.compile(rb"-?[0-9a-f]{1,16}-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate, as it is stored.

    Attributes:
        value: what it says: its own choice, or coord's description of the process if it said nothing.
        key: its key.
        term: create revision of the key: the order of the queue, and the number of its term once it leads.
        revision: revision at which it said so.
        lease: the lease that the key hangs on.
    """

    value: bytes
    key: bytes
    term: int
    revision: int
    lease: int

    @property
    def text(self) -> str:
        """The value as text; what is no UTF-8 is shown as escapes."""
        return self.value.decode("utf-8", "backslashreplace")

    @property
    def id(self) -> str:
        """Last part of the key, ``<lease>-<n>``: different for every candidate there ever was."""
        return self.key.rpartition(b"/")[2].decode("ascii", "backslashreplace")

    @property
    def owner(self) -> Owner:
        """What the value says of the process, if coord described it: host, pid, task, since."""
        return parse_owner(self.value)

    @property
    def steps_behind(self) -> bool:
        """True if it stands again at the end of the queue when it is asked to: coord's candidates do."""
        return _STEPS_BEHIND.fullmatch(self.id.encode()) is not None


class Leader(Candidate):
    """The candidate that leads."""

    __slots__ = ()


def candidates(name: bytes, items: Iterable[KeyValue]) -> list[Candidate]:
    """The candidates among stored keys, the leader first."""
    found = [as_candidate(item) for item in items if is_contender(name, item.key)]
    return sorted(found, key=lambda each: each.term)


def as_candidate(item: KeyValue) -> Candidate:
    """A stored key as a candidate."""
    return Candidate(item.value, item.key, item.create_revision, item.mod_revision, item.lease)


def as_leader(found: Candidate) -> Leader:
    """The same candidate, leading."""
    return Leader(found.value, found.key, found.term, found.revision, found.lease)


def chosen(among: Sequence[Candidate], to: Candidate | str | bytes) -> Candidate | None:
    """The candidate that `to` names by its key, its id or its value; of several the one that stands in front."""
    if isinstance(to, Candidate):
        return next((each for each in among if (each.key, each.term) == (to.key, to.term)), None)
    word = to_bytes(to)
    for each in among:
        if word in (each.key, each.id.encode(), each.value):
            return each
    return None
