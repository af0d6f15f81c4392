"""Queues on a port without network: decisions, arguments, both faces."""

from __future__ import annotations

import asyncio
import gc
import queue
from typing import Any

import pytest

from coord.errors import (
    JobLost,
    NotOwner,
    OutcomeUnknown,
    PermissionDenied,
    QueueEmpty,
    QueueFull,
    Unavailable,
    UsageError,
)
from coord.model import LeaseState
from coord.ops import Txn
from coord.recipes.queues.kinds import AsyncDelayQueue, AsyncGatedQueue, AsyncPriorityQueue, DelayQueue
from coord.recipes.queues.names import Names
from coord.recipes.queues.queue import AsyncQueue, Queue
from tests.unit.recipes.direct import DirectPort, Place, Stuck

ROOT = b"coord/queues/mail/"


def made(place: Place, **more: Any) -> Queue:
    return Queue(place.client(), "mail", **more)


def keys(place: Place, below: bytes = b"") -> list[bytes]:
    """The queue's keys, without those of its producers."""
    found = place.server.keys(ROOT + below)
    return sorted(key.removeprefix(ROOT) for key in found if not key.startswith((ROOT + b"puts/", ROOT + b"returns")))


# --- putting and taking


def test_what_was_put_first_is_taken_first() -> None:
    place = Place()
    mail = made(place)
    ids = [mail.put(f"{n}") for n in range(3)]
    with mail.take() as job:
        assert (job.id, job.value, job.text, job.tries) == (ids[0], b"0", "0", 1)
        assert job.state is LeaseState.HELD
        assert "pid" not in job.producer
        assert job.put_at > 1_600_000_000
    assert len(mail) == 2
    assert mail.depth().ready == 2
    assert bool(mail)


def test_a_done_job_leaves_nothing() -> None:
    place = Place()
    mail = made(place)
    mail.put("x")
    mail.take().ack()
    assert keys(place) == []


def test_an_error_in_the_block_gives_it_back_to_its_place() -> None:
    place = Place()
    mail = made(place)
    mail.put("0")
    mail.put("1")
    with pytest.raises(KeyError), mail.take():
        raise KeyError("no")
    with mail.take() as job:
        assert (job.text, job.tries) == ("0", 2)


def test_a_job_is_settled_once() -> None:
    mail = made(Place())
    mail.put("x")
    with mail.take() as job:
        job.ack()
    for settle in (job.ack, job.nack, job.extend):
        with pytest.raises(NotOwner):
            settle()


def test_a_dropped_job_is_given_back() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail")
    mail.put("x")
    job = mail.take()
    del job
    gc.collect()
    client.keep()
    assert mail.take().tries == 2


def test_a_put_is_one_request_and_so_are_a_take_and_an_ack() -> None:
    client = Place().client()
    mail = Queue(client, "mail")
    for n in range(4):
        mail.put(f"{n}")
    mail.take().ack()
    client.requests.clear()
    mail.put("x")
    assert len(client.requests) == 1
    mail.take().ack()
    assert len(client.requests) == 3


def test_nobody_takes_what_another_has() -> None:
    place = Place()
    mail, other = made(place), made(place)
    mail.put("x")
    job = mail.take()
    assert other.try_take() is None
    with pytest.raises(QueueEmpty) as caught:
        other.take(timeout=3)
    assert isinstance(caught.value, queue.Empty)
    assert caught.value.queue == "mail"
    assert keys(place, b"line/") == []
    job.nack()
    assert other.take().text == "x"


def test_waiting_for_ever_is_the_default() -> None:
    with pytest.raises(Stuck):
        made(Place()).take()
    with pytest.raises(Stuck):
        next(iter(made(Place(), timeout=0)))


def test_a_consumer_that_waits_gets_the_next_job() -> None:
    place = Place()
    client, mail = place.client(), made(place)
    client.while_waiting.append(lambda: mail.put("x"))
    assert Queue(client, "mail").take().text == "x"


def test_a_consumer_that_waits_gets_what_another_lost() -> None:
    place = Place()
    client, mail = place.client(), made(place)
    mail.put("x")
    job = mail.take()
    client.while_waiting.append(lambda: place.server.revoke(job.lease))
    again = Queue(client, "mail", ttl=60).take()
    assert (again.text, again.tries) == ("x", 2)
    with pytest.raises(JobLost) as caught:
        job.ack()
    assert (caught.value.queue, caught.value.job, caught.value.tries, caught.value.cause) == (
        "mail",
        job.id,
        1,
        "revoked",
    )
    again.ack()


def test_leaving_the_block_of_a_lost_job_tells_it() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail")
    mail.put("x")
    with pytest.raises(JobLost), mail.take():
        client.lose()
    assert made(place).take().tries == 2


def test_a_refusal_leaves_nothing_taken() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail")
    mail.put("x")
    client.troubles.append(PermissionDenied("no", code=7, text="no"))
    with pytest.raises(PermissionDenied):
        mail.take()
    client.keep()
    assert keys(place, b"taken/") == []


def losing(client: DirectPort, *, happened: bool) -> None:
    """The answer to the next write is lost."""
    plain = client._commit
    lost = [True]

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if lost and request.writes:
            lost.clear()
            if happened:
                await plain(request, deadline=deadline)
            raise OutcomeUnknown("lost")
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # the network between


@pytest.mark.parametrize("happened", [False, True])
def test_a_lost_answer_changes_nothing(happened: bool) -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail")
    mail.put("0")
    losing(client, happened=happened)
    mail.put("1")
    assert mail.depth().total == 2
    losing(client, happened=happened)
    job = mail.take()
    assert (job.text, job.tries) == ("0", 1)
    losing(client, happened=happened)
    job.ack()
    losing(client, happened=happened)
    mail.take().nack()
    assert mail.take().tries == 2
    assert mail.depth().total == 1


def test_a_put_that_is_done_before_its_answer_is_asked_for_again_is_not_put_again() -> None:
    place = Place()
    client, other = place.client(), made(place)
    mail = Queue(client, "mail")
    mail.put("0")
    other.take().ack()
    losing(client, happened=True)
    client.while_waiting.append(lambda: other.take().ack())
    mail.put("1")
    assert keys(place) == []


def test_an_ack_may_be_asked_for_again() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail")
    mail.put("x")
    job = mail.take()
    client.troubles += [Unavailable("down")] * 100
    with pytest.raises(TimeoutError):
        job.ack(timeout=1)
    client.troubles.clear()
    job.check()
    job.ack()
    assert keys(place) == []


# --- limits, the dead, later


def test_a_job_is_dead_after_its_tries() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail", tries=2)
    job_id = mail.put("x")
    mail.take().nack(reason="no luck")
    mail.take().nack(delay=60, reason="none")
    assert mail.try_take() is None
    (dead,) = mail.dead()
    assert (dead.id, dead.value, dead.tries, dead.reason) == (job_id, b"x", 2, "none")
    assert len(mail) == 0
    assert mail.depth().dead == 1
    assert mail.revive(job_id)
    assert mail.take().tries == 1
    assert mail.revive(job_id) is False


def test_a_job_whose_consumers_die_is_dead_too() -> None:
    place = Place()
    for _ in range(2):
        mail = made(place, tries=2)
        if not len(mail):
            mail.put("x")
        place.server.revoke(mail.take().lease)
    mail = made(place, tries=2)
    assert mail.try_take() is None
    (dead,) = mail.dead()
    assert dead.reason == "its consumer was gone"
    assert mail.discard(dead.id)
    assert keys(place) == []


def test_a_job_may_be_held_for_so_long() -> None:
    place = Place()
    client = place.client()
    mail = Queue(client, "mail", hold=5, ttl=60)
    mail.put("x")
    job = mail.take()
    assert 4 < job.remaining() <= 5
    place.clock.advance(4)
    job.extend()
    assert 4 < job.remaining() <= 5
    job.extend(20)
    assert 19 < job.remaining() <= 20
    place.clock.advance(21)
    assert job.state is LeaseState.LOST
    assert job.cause == "overdue"
    client.keep()
    assert job.lost.is_set()
    with pytest.raises(JobLost):
        job.extend()
    assert made(place).take().tries == 2


def test_without_a_limit_there_is_nothing_to_extend() -> None:
    mail = made(Place())
    mail.put("x")
    job = mail.take()
    job.extend(1)
    assert job.remaining() > 5


def test_given_back_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0 + place.clock.now())
    mail = made(place, ttl=60)
    mail.put("0")
    mail.put("1")
    mail.take().nack(delay=30)
    assert mail.depth().delayed == 1
    second = mail.take()
    assert second.text == "1"
    second.nack()
    before = place.clock.now()
    with mail.take() as job:
        assert job.text == "1"
    assert mail.take().text == "0"
    assert place.clock.now() == pytest.approx(before + 30, abs=0.01)


# --- arguments


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": 0},
        {"tries": 0},
        {"tries": True},
        {"tries": "3"},
        {"hold": -1},
        {"timeout": -1},
        {"capacity": 0},
        {"window": -1},
    ],
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        made(Place(), **wrong)


@pytest.mark.parametrize("name", ["", 3, "\ud800"])
def test_wrong_names(name: Any) -> None:
    with pytest.raises(UsageError):
        Queue(Place().client(), name)


def test_wrong_delays() -> None:
    mail = made(Place())
    mail.put("x")
    with pytest.raises(UsageError):
        mail.take().nack(delay=-1)
    with pytest.raises(UsageError):
        DelayQueue(Place().client(), "mail").put("x", delay=-1)


def test_names_are_quoted() -> None:
    assert Names("a/b").root == b"coord/queues/a%2Fb/"


# --- asyncio


def run(program: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await program

    return asyncio.run(bounded())


def test_asyncio_takes_and_settles() -> None:
    async def program() -> None:
        place = Place()
        mail = AsyncQueue(place.client(), "mail", tries=1)
        await mail.put("0")
        async with mail.take() as job:
            assert job.text == "0"
        await mail.put("1")
        async for job in mail:
            await job.nack(reason="no")
            break
        (dead,) = await mail.dead()
        assert await mail.revive(dead.id)
        await (await mail.take()).nack()
        assert await mail.discard(dead.id)
        assert (await mail.depth()).total == 0
        assert await mail.try_take() is None
        await AsyncPriorityQueue(place.client(), "mail").put("b", priority=9)
        await AsyncPriorityQueue(place.client(), "mail").put("a", priority=3)
        await AsyncDelayQueue(place.client(), "mail").put("c")
        assert [(await mail.take()).text for _ in range(3)] == ["a", "b", "c"]
        gated = AsyncGatedQueue(place.client(), "gated", count=5)
        await gated.put("x", key="k", task="t")
        await gated.go()
        assert await gated.is_open()
        await gated.halt()
        assert await gated.try_take() is None
        with pytest.raises(QueueFull):
            await AsyncQueue(place.client(), "gated", capacity=1).put("y", timeout=0)

    run(program())


def test_asyncio_cancels_the_block_of_a_lost_job() -> None:
    async def program() -> None:
        place = Place()
        client = place.client()
        mail = AsyncQueue(client, "mail")
        await mail.put("x")

        async def work() -> None:
            async with mail.take():
                client.lose()
                await asyncio.sleep(60)

        with pytest.raises(JobLost):
            await work()

    run(program())


def test_a_cancelled_block_gives_the_job_back() -> None:
    async def program() -> None:
        place = Place()
        mail = AsyncQueue(place.client(), "mail")
        await mail.put("x")

        async def work() -> None:
            async with mail.take():
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await mail.take()).tries == 2

    run(program())
