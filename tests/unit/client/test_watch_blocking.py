"""The thread behind blocking watches, where nothing is as it should be. Real servers are in tests/process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coord.client.connection.history import History
from coord.client.watch.actions import WatchSpec
from coord.client.watch.blocking import BlockingHub
from coord.client.watch.inbox import Inbox
from coord.errors import WatchLost


class Broken:
    """A connection with a mistake in it."""

    def __init__(self) -> None:
        self.history = History()

    def open_stream(self, *_arguments: Any, **_options: Any) -> Any:
        raise ZeroDivisionError("a mistake of ours")


def test_nobody_waits_for_a_thread_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda report: reported.append(report.exc_type))
    hub = BlockingHub(Broken(), namespace=b"", authenticated=False)  # type: ignore[arg-type]  # all it needs
    for _ in range(2):  # the second one gets a thread of its own
        inbox, told = Inbox(), threading.Event()
        inbox.listen(told.set)
        hub.add(WatchSpec(b"k"), inbox)
        assert told.wait(20)
        with pytest.raises(WatchLost, match="a mistake of ours"):
            inbox.take()
    hub.close()
    assert set(reported) == {ZeroDivisionError}
