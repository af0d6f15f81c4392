"""Mailbox, loop mailbox, bell, inbox: no post is missed, whoever posts whenever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from coord.client.ports.mailbox import Bell, LoopMailbox, Mailbox
from coord.client.watch.inbox import Inbox
from coord.errors import ClosedError, Compacted
from coord.model import WatchBatch

FOREVER = 30.0


def test_a_post_before_the_wait_counts() -> None:
    box = Mailbox()
    box.post()
    box.wait(None)


def test_a_post_from_another_thread_wakes() -> None:
    box = Mailbox()
    thread = threading.Thread(target=box.post)
    thread.start()
    box.wait(FOREVER)
    thread.join()


def test_waiting_no_time_returns() -> None:
    Mailbox().wait(0)
    Mailbox().wait(-1)


def test_a_loop_mailbox_is_posted_from_its_loop_and_from_threads() -> None:
    async def main() -> None:
        box = LoopMailbox()
        box.post()
        await box.wait(FOREVER)
        thread = threading.Thread(target=box.post)
        thread.start()
        await box.wait(FOREVER)
        thread.join()
        await box.wait(0)

    asyncio.run(main())


def test_a_post_to_a_closed_loop_is_harmless() -> None:
    async def main() -> LoopMailbox:
        return LoopMailbox()

    box = asyncio.run(main())
    thread = threading.Thread(target=box.post)
    thread.start()
    thread.join()


def test_a_bell_tells_everybody_once_and_latecomers_at_once() -> None:
    bell = Bell()
    told: list[str] = []
    bell.listen(lambda: told.append("early"))
    forget = bell.listen(lambda: told.append("gone"))
    forget()
    before = bell.rung
    bell.ring()
    assert (before, bell.rung) == (False, True)
    bell.listen(lambda: told.append("late"))
    assert told == ["early", "late"]


def test_an_inbox_gives_batches_in_order_and_then_its_error() -> None:
    inbox = Inbox()
    assert inbox.take() is None
    inbox.push(1, WatchBatch(5))
    inbox.push(2, WatchBatch(6))
    inbox.fail(Compacted("gone", code=11, text=""))
    inbox.fail(ClosedError("later"))
    assert inbox.take() == (1, WatchBatch(5))
    assert inbox.take() == (2, WatchBatch(6))
    for _ in range(2):
        with pytest.raises(Compacted):
            inbox.take()


def test_an_inbox_is_confirmed_when_all_its_watchers_are() -> None:
    inbox = Inbox()
    inbox.confirm(1, 7)
    assert inbox.confirmed(2) is None
    inbox.confirm(2, 5)
    assert inbox.confirmed(2) == 5


def test_an_inbox_that_failed_will_not_be_confirmed() -> None:
    inbox = Inbox()
    inbox.fail(ClosedError("closed"))
    with pytest.raises(ClosedError):
        inbox.confirmed(1)


def test_an_inbox_tells_its_listeners_of_everything() -> None:
    inbox = Inbox()
    told: list[int] = []
    forget = inbox.listen(lambda: told.append(1))
    inbox.push(1, WatchBatch(5))
    inbox.confirm(1, 4)
    inbox.fail(ClosedError("closed"))
    forget()
    inbox.push(1, WatchBatch(6))
    assert len(told) == 3
