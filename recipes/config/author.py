"""Who changes a configuration, and when: for people who read its history."""

from __future__ import annotations

import os
import secrets
import time

from coord.recipes.config.stored import Stamp


def stamp(author: str | None) -> Stamp:
    """The stamp of one change, made now by `author`, or by this process."""
    return Stamp(secrets.token_hex(8), author or f"pid {os.getpid()} on {os.uname().nodename}", time.time())
