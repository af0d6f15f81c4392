"""Choosing among those who are there: what a view's `pick` does. Any thread may ask; knows no port and no clock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from coord.errors import NoInstances
from coord.recipes.registry.balance import Balance
from coord.recipes.registry.brake import NOBODY_KEPT
from coord.recipes.registry.ejection import Ejections
from coord.recipes.registry.instance import Instance
from coord.recipes.registry.roster import NOBODY, Seen


class Picker:
    """A view's choices: whom it may choose, who is ejected, and how many calls are under way."""

    def __init__(self, service: str, balance: Balance, ejections: Ejections) -> None:
        self._service = service
        self._balance = balance
        self._ejections = ejections
        self._lock = threading.Lock()
        self._load: Counter[bytes] = Counter()  # calls under way, by key
        self._seen: Seen = NOBODY
        self._kept: Mapping[bytes, Instance] = NOBODY_KEPT
        self._usable: Sequence[tuple[bytes, Instance]] = ()  # of `_seen` and `_kept`, in the order of keys
        self._among: Sequence[Instance] = ()  # the same without those who are ejected
        self._stale_at = float("inf")  # when somebody ejected comes back

    def pick(self, seen: Seen, key: bytes | None, now: float, *, counted: bool) -> Instance:
        """One of those who are there; `counted`: it has a call more under way, until `done`.

        Raises:
            NoInstances: nobody is there who takes calls.
            UsageError: the balance needs a key.
        """
        with self._lock:
            among = self._choices(seen, now)
            if not among:
                raise NoInstances(f"no instance of {self._service!r} takes calls at present", service=self._service)
            chosen = self._balance.choose(among, key, self._load)
            if counted:
                self._load[chosen.key] += 1
            return chosen

    def done(self, instance: Instance) -> None:
        """A counted call has ended."""
        with self._lock:
            self._load[instance.key] -= 1
            if not self._load[instance.key]:
                del self._load[instance.key]

    def failed(self, instance: Instance, now: float) -> None:
        """A call to it failed."""
        with self._lock:
            self._ejections.failed(instance.key, now)
            self._stale_at = now

    def _choices(self, seen: Seen, now: float) -> Sequence[Instance]:
        kept = seen.kept(now)
        changed = seen is not self._seen or kept is not self._kept
        if not changed and now < self._stale_at:
            return self._among
        if changed:
            everybody = {**kept, **seen.known}
            self._usable = [(key, each) for key, each in sorted(everybody.items()) if each.takes_calls]
            self._seen, self._kept = seen, kept
        out: Collection[bytes] = self._ejections.out({key for key, _ in self._usable}, now)
        self._among = [each for key, each in self._usable if key not in out]
        self._stale_at = self._ejections.changes_at(now)
        return self._among
