"""What a failure means while the client is being closed; everything else is tested through the connections."""

from __future__ import annotations

import pytest

from coord import statuses
from coord.client.connection.core import Core, Pending, Settings
from coord.client.connection.retry import Failure
from coord.client.connection.urls import Endpoint
from coord.errors import ClosedError, OutcomeUnknown
from coord.statuses import Status
from coord.wire import methods

ENDPOINT = Endpoint("a:1")
CUT_OFF = Status(statuses.CANCELLED, "Channel closed!")


def closing(*, write: bool) -> tuple[Core, Pending]:
    """A connection that is closed while a call is under way."""
    core = Core(Settings((ENDPOINT,)), None)
    pending = core.begin(methods.KV_PUT, None, deadline=None, write=write, linearizable=False, once=False, pinned=None)
    core.closed = True
    return core, pending


def test_a_write_that_was_sent_may_have_happened() -> None:
    core, pending = closing(write=True)
    with pytest.raises(OutcomeUnknown, match="Channel closed"):
        core.failed(pending, Failure(CUT_OFF, ENDPOINT))


@pytest.mark.parametrize(("write", "sent"), [(True, False), (False, True), (False, False)])
def test_anything_else_ended_with_the_client(write: bool, sent: bool) -> None:
    core, pending = closing(write=write)
    with pytest.raises(ClosedError):
        core.failed(pending, Failure(CUT_OFF, ENDPOINT, sent))
