"""The clock that ownership is measured on."""

from __future__ import annotations

import time
from typing import Final

# CLOCK_BOOTTIME counts while the machine is suspended, so after a sleep a lease looks older than it is and never
# younger: the error is on the safe side. Only Linux has it.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds on a clock that never goes back and counts suspension."""
    return time.clock_gettime(_CLOCK)
