"""Background programs: owned, stopped, and never failing in silence. The ports have no server; nobody asks for one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from coord.client.connection.aio import AsyncConnection
from coord.client.connection.blocking import BlockingConnection
from coord.client.connection.core import Settings
from coord.client.connection.urls import Endpoint
from coord.client.ports.aio import AsyncPort
from coord.client.ports.background import TaskPrograms, ThreadHandle, ThreadPrograms
from coord.client.ports.blocking import BlockingPort
from coord.errors import CallTimeout, ClosedError
from coord.port import Port

SETTINGS = Settings((Endpoint("127.0.0.1:1"),))
PATIENCE = 20.0


class Program:
    """A program that waits for ever, or fails, or ends."""

    def __init__(self, error: BaseException | None = None, *, forever: bool = True) -> None:
        self.error = error
        self.forever = forever
        self.began = threading.Event()
        self.cleaned = threading.Event()

    async def __call__(self, port: Port) -> None:
        self.began.set()
        if self.error is not None:
            raise self.error
        try:
            while self.forever:
                await port.sleep(until=port.now() + 3600)
        finally:
            self.cleaned.set()


@pytest.fixture
def port() -> Iterator[BlockingPort]:
    made = BlockingPort(BlockingConnection(SETTINGS))
    yield made
    made.close()


def test_it_runs_in_a_thread_with_its_name(port: BlockingPort) -> None:
    programs = ThreadPrograms(port)
    program = Program()
    handle = programs.start(program, name="follow")
    assert program.began.wait(PATIENCE)
    assert "coord-follow" in [thread.name for thread in threading.enumerate()]
    assert handle.running
    assert "running" in repr(handle)
    with pytest.raises(CallTimeout):
        handle.wait(timeout=0)
    assert handle.stop(timeout=PATIENCE)
    assert program.cleaned.is_set()
    assert handle.error is None
    handle.wait(timeout=PATIENCE)
    assert "ended" in repr(handle)


def test_stopping_one_does_not_stop_the_others(port: BlockingPort) -> None:
    programs = ThreadPrograms(port)
    first, second = (programs.start(Program(), name=name) for name in ("a", "b"))
    assert first.stop(timeout=PATIENCE)
    assert second.running
    programs.close()
    assert not second.running


def test_a_failure_stands_on_the_handle_and_in_the_log(port: BlockingPort, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "coord.background"):
        handle = ThreadPrograms(port).start(Program(KeyError("broken")), name="follow")
        with pytest.raises(KeyError):
            handle.wait(timeout=PATIENCE)
    assert isinstance(handle.error, KeyError)
    assert "follow" in caplog.text
    assert "broken" in repr(handle)


def test_closing_the_port_under_a_program_is_no_failure(port: BlockingPort) -> None:
    program = Program()
    handle = ThreadPrograms(port).start(program, name="follow")
    assert program.began.wait(PATIENCE)
    port.close()
    handle.wait(timeout=PATIENCE)
    assert handle.error is None


def test_a_closed_thing_of_the_programs_own_is_a_failure(port: BlockingPort) -> None:
    handle = ThreadPrograms(port).start(Program(ClosedError("something else")), name="follow")
    with pytest.raises(ClosedError):
        handle.wait(timeout=PATIENCE)


def test_nothing_starts_after_closing(port: BlockingPort) -> None:
    programs = ThreadPrograms(port)
    programs.close()
    with pytest.raises(ClosedError):
        programs.start(Program(), name="late")


def test_a_program_may_stop_itself(port: BlockingPort) -> None:
    programs = ThreadPrograms(port)
    handles: list[ThreadHandle] = []
    ready = threading.Event()

    async def program(inner: Port) -> None:
        ready.wait(PATIENCE)
        assert not handles[0].stop()
        await inner.sleep(until=inner.now() + 3600)

    handles.append(programs.start(program, name="self"))
    ready.set()
    handles[0].wait(timeout=PATIENCE)


def test_tasks_do_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        port = AsyncPort(AsyncConnection(SETTINGS))
        programs = TaskPrograms(port)
        patient, failing, ending = Program(), Program(KeyError("broken")), Program(forever=False)
        handles = [programs.start(each, name="follow") for each in (patient, failing, ending)]
        await handles[2].wait(timeout=PATIENCE)
        with pytest.raises(KeyError):
            await handles[1].wait(timeout=PATIENCE)
        assert isinstance(handles[1].error, KeyError)
        assert handles[0].running
        with pytest.raises(CallTimeout):
            await handles[0].wait(timeout=0)
        assert await handles[0].stop()
        assert patient.cleaned.is_set()
        assert handles[0].error is None
        last = Program()
        handle = programs.start(last, name="last")
        await asyncio.sleep(0)
        await programs.close()
        assert not handle.running
        assert last.cleaned.is_set()
        with pytest.raises(ClosedError):
            programs.start(Program(), name="late")
        await port.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert "broken" in caplog.text


def test_closing_an_asyncio_port_under_a_program_is_no_failure() -> None:
    async def main() -> None:
        port = AsyncPort(AsyncConnection(SETTINGS))
        handle = TaskPrograms(port).start(Program(), name="follow")
        await asyncio.sleep(0)
        await port.close()
        await handle.wait(timeout=PATIENCE)
        assert handle.error is None

    asyncio.run(main())
