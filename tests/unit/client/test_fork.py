"""The gate that keeps threads out of grpc while the process forks; real forks are in tests/process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from coord.client.connection import fork
from coord.errors import ForkedError


@pytest.fixture(autouse=True)
def _nobody_calls() -> Iterator[None]:
    assert fork._calling == set()
    yield
    assert fork._calling == set()
    assert fork._gate.is_set()


class Caller:
    """A thread that goes into grpc and comes out again when told."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.leave = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        fork.enter()
        self.inside.set()
        self.leave.wait(10)
        fork.leave()


def test_a_fork_waits_for_calls_under_way() -> None:
    caller = Caller()
    assert caller.inside.wait(10)
    threading.Timer(0.05, caller.leave.set).start()
    fork._before_fork()
    assert fork._calling == set()
    fork._after_fork_in_parent()
    caller.thread.join()


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork, "GATE_SECONDS", 0.01)
    caller = Caller()
    assert caller.inside.wait(10)
    fork._before_fork()
    assert fork._calling == {caller.thread.ident}
    fork._after_fork_in_parent()
    caller.leave.set()
    caller.thread.join()


def test_calls_wait_for_a_fork_under_way() -> None:
    fork._before_fork()
    caller = Caller()
    assert not caller.inside.wait(0.05)
    assert fork._calling == set()
    fork._after_fork_in_parent()
    assert caller.inside.wait(10)
    caller.leave.set()
    caller.thread.join()


def test_the_thread_that_forks_may_call() -> None:
    """From a hook or a destructor; it would wait for itself."""
    fork._before_fork()
    fork.enter()
    fork.leave()
    fork._after_fork_in_parent()


@pytest.fixture
def _as_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("generation", "aio_lost", "_gate"):
        monkeypatch.setattr(fork, name, getattr(fork, name))
    monkeypatch.setattr(fork, "_leaked", [])


class Owner:
    """Has grpc.aio channels."""


@pytest.mark.usefixtures("_as_in_a_child")
def test_a_child_of_a_process_without_asyncio() -> None:
    before = fork.generation
    fork._after_fork_in_child()
    assert fork.generation == before + 1
    fork.check_aio()


@pytest.mark.usefixtures("_as_in_a_child")
@pytest.mark.parametrize(
    ("channels_open", "loop_closed", "lost"), [(True, True, True), (False, False, True), (False, True, False)]
)
def test_a_child_of_a_process_with_asyncio(channels_open: bool, loop_closed: bool, lost: bool) -> None:
    owner, loop = Owner(), asyncio.new_event_loop()
    fork.aio_opened(owner, loop)
    if not channels_open:
        fork.aio_closed(owner)
    if loop_closed:
        loop.close()
    fork._after_fork_in_child()
    if lost:
        with pytest.raises(ForkedError, match="spawn"):
            fork.check_aio()
    else:
        fork.check_aio()
    fork.aio_closed(owner)
    loop.close()
