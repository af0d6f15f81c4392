"""A command that says when it is in and out: say.py WHO SECONDS [FILE to make when it is asked to end]."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def leave(*_: object) -> None:
    Path(sys.argv[3]).touch()
    sys.exit(0)


def main() -> None:
    if sys.argv[3:]:
        signal.signal(signal.SIGTERM, leave)
    print("in", sys.argv[1], os.getpid(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("out", sys.argv[1], flush=True)


if __name__ == "__main__":
    main()
