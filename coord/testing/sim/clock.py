"""A clock that moves only when it is told to."""

from __future__ import annotations


class ManualClock:
    """Seconds that never go back; call `now`, or give it away as a function."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def now(self) -> float:
        """The instant it stands at."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`.

        Raises:
            ValueError: they are negative.
        """
        self.move_to(self._now + seconds)

    def move_to(self, instant: float) -> None:
        """Move on to `instant`.

        Raises:
            ValueError: that has passed.
        """
        if instant < self._now:
            raise ValueError(f"a clock never goes back: {instant} is before {self._now}")
        self._now = instant
