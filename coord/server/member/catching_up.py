"""Lets lagging watchers catch up, a slice at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from coord.server.mvcc.watchers import WatchHub

SLICE_SECONDS = 0.004


class CatchUp:
    """Drives one hub on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hub: WatchHub, fatal: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._hub = hub
        self._fatal = fatal
        self._planned = False
        self._stopped = False
        hub.on_work = self._plan

    def look(self) -> None:
        """The regular call, for watchers whose streams got room again in a way that told nobody."""
        if self._hub.lagging:
            self._plan()

    def stop(self) -> None:
        """Read nothing any more."""
        self._stopped = True

    def _plan(self) -> None:
        if not self._planned and not self._stopped:
            self._planned = True
            self._loop.call_soon(self._slice)

    def _slice(self) -> None:
        self._planned = False
        if self._stopped:
            return
        until = time.monotonic() + SLICE_SECONDS
        try:
            more = self._hub.catch_up()
            while more and time.monotonic() < until:
                more = self._hub.catch_up()
        except Exception as error:  # noqa: BLE001 - the store is read here; a defect would lose events silently
            self._fatal(error)
            return
        if more:
            self._plan()
