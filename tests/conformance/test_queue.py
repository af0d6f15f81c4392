"""Queues over real connections, on every server, blocking and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import coord
from coord.errors import JobLost, QueueEmpty, QueueFull
from tests.servers import ServerProcess
from tests.waiting import PATIENCE, in_thread, until


def test_first_in_first_out(client: coord.Client, other: coord.Client) -> None:
    here, there = client.queue("mail"), other.queue("mail")
    ids = [here.put(f"{n}") for n in range(40)]
    taken = []
    for _ in range(40):
        with there.take(timeout=PATIENCE) as job:
            taken.append((job.id, job.text, job.tries))
    assert taken == [(ids[n], f"{n}", 1) for n in range(40)]
    assert there.try_take() is None
    assert here.depth().total == 0
    assert client.range("coord/queues/mail/jobs/", prefix=True).items == ()


def test_a_job_that_is_given_back_comes_first(client: coord.Client, other: coord.Client) -> None:
    mine, theirs = client.queue("mail"), other.queue("mail")
    for n in range(3):
        mine.put(f"{n}")
    first, second = mine.take(timeout=PATIENCE), theirs.take(timeout=PATIENCE)
    assert (first.text, second.text) == ("0", "1")
    first.nack()
    again = theirs.take(timeout=PATIENCE)
    assert (again.text, again.tries) == ("0", 2)
    again.ack()
    second.ack()
    with pytest.raises(ValueError, match="no"), mine.take(timeout=PATIENCE):
        raise ValueError("no")
    with mine.take(timeout=PATIENCE) as job:
        assert (job.text, job.tries) == ("2", 2)


def test_a_consumer_that_waits_is_woken(client: coord.Client, other: coord.Client) -> None:
    waiting = in_thread(lambda: other.queue("mail").take(timeout=PATIENCE))
    until(lambda: len(client.range("coord/queues/mail/line/", prefix=True).items) == 1, "somebody waits")
    client.queue("mail").put("x")
    job = waiting()
    assert job.text == "x"
    job.ack()
    until(lambda: not client.range("coord/queues/mail/line/", prefix=True).items, "nobody waits")


def test_jobs_of_a_consumer_that_dies_go_to_another(client: coord.Client, other: coord.Client) -> None:
    client.queue("mail").put("x")
    job = other.queue("mail").take(timeout=PATIENCE)
    waiting = in_thread(lambda: client.queue("mail").take(timeout=PATIENCE))
    until(lambda: len(client.range("coord/queues/mail/line/", prefix=True).items) == 1, "somebody waits")
    client.lease.revoke(job.lease)
    again = waiting()
    assert (again.id, again.tries) == (job.id, 2)
    with pytest.raises(JobLost) as caught:
        job.ack()
    assert (caught.value.queue, caught.value.job, caught.value.tries) == ("mail", job.id, 1)
    again.ack()
    assert client.queue("mail").depth().total == 0


def test_what_is_held_too_long_goes_to_another(client: coord.Client, other: coord.Client) -> None:
    client.queue("mail").put("x")
    job = other.queue("mail", hold=0.3).take(timeout=PATIENCE)
    again = client.queue("mail").take(timeout=PATIENCE)
    assert again.tries == 2
    with pytest.raises(JobLost) as caught:
        job.extend()
    assert caught.value.cause == "overdue"
    again.ack()


def test_dead_after_two_tries(client: coord.Client) -> None:
    mail = client.queue("mail", tries=2)
    mail.put("bad")
    mail.put("good")
    for _ in range(2):
        mail.take(timeout=PATIENCE).nack(reason="no luck")
    with mail.take(timeout=PATIENCE) as job:
        assert job.text == "good"
    (dead,) = mail.dead()
    assert (dead.value, dead.tries, dead.reason) == (b"bad", 2, "no luck")
    assert mail.depth().dead == 1
    assert mail.revive(dead.id)
    with mail.take(timeout=PATIENCE) as job:
        assert (job.text, job.tries) == ("bad", 1)
    assert not mail.revive(dead.id)
    assert not mail.discard(dead.id)


def test_priorities_and_delays(client: coord.Client) -> None:
    mail = client.priority_queue("mail")
    for priority in (200, 5, 100, 5):
        mail.put(f"{priority}", priority=priority)
    client.delay_queue("mail").put("later", delay=0.5)
    taken = []
    for _ in range(5):
        with mail.take(timeout=PATIENCE) as job:
            taken.append(job.text)
    assert taken[:3] == ["5", "5", "100"]
    assert sorted(taken[3:]) == ["200", "later"]
    with pytest.raises(QueueEmpty):
        mail.take(timeout=0.1)


def test_keys_and_room(client: coord.Client, other: coord.Client) -> None:
    mine, theirs = client.queue("mail", capacity=2), other.queue("mail", capacity=2)
    first = mine.put("0", key="order 7")
    assert theirs.put("1", key="order 7") == first
    theirs.put("1")
    with pytest.raises(QueueFull):
        mine.put("2", timeout=0)
    waiting = in_thread(lambda: mine.put("2", timeout=PATIENCE))
    until(lambda: client.range("coord/queues/mail/room/", prefix=True).items, "a producer waits for room")
    theirs.take(timeout=PATIENCE).ack()
    waiting()
    assert [theirs.take(timeout=PATIENCE).text for _ in range(2)] == ["1", "2"]


def test_a_gate(client: coord.Client, other: coord.Client) -> None:
    mail, task = client.gated_queue("mail", count=2), other.gated_queue("mail", task="start")
    mail.put("0")
    assert task.try_take() is None
    waiting = in_thread(lambda: task.take(timeout=PATIENCE))
    until(lambda: client.range("coord/queues/mail/line/", prefix=True).items, "a consumer waits")
    mail.put("1", task="start")
    waiting().ack()
    assert mail.is_open()
    mail.halt()
    assert mail.try_take() is None
    mail.put("2")
    assert mail.take(timeout=PATIENCE).text == "1"
    mail.halt()
    mail.go()
    assert mail.take(timeout=PATIENCE).text == "2"


def test_many_consumers_do_each_job_once(server: ServerProcess, prefix: bytes) -> None:
    async def work(client: coord.aio.Client, done: list[str]) -> None:
        queue = client.queue("mail")
        while (job := await queue.try_take()) is not None:
            async with job:
                done.append(job.text)

    async def main() -> None:
        async with coord.aio.connect(server.endpoint, namespace=prefix) as client:
            queue = client.queue("mail")
            await asyncio.gather(*(queue.put(f"{n}") for n in range(30)))
            done: list[str] = []
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(work(client, done))
            assert sorted(map(int, done)) == list(range(30))
            async with asyncio.timeout(PATIENCE):
                await queue.put("last")
                async for job in queue:
                    assert job.text == "last"
                    await job.ack()
                    break
                await queue.put("block")
                async with queue.take() as job:
                    assert job.text == "block"
            assert (await queue.depth()).total == 0

    asyncio.run(main())


def test_a_restart_of_the_server_loses_nothing(fresh_server: Callable[..., ServerProcess]) -> None:
    server = fresh_server()
    with coord.connect(server.endpoint) as client, coord.connect(server.endpoint) as other:
        client.queue("mail").put("0")
        client.queue("mail").put("1")
        job = client.queue("mail", ttl=20).take(timeout=PATIENCE)
        second = other.queue("mail").take(timeout=PATIENCE)
        waiting = in_thread(lambda: other.queue("mail", ttl=20).take(timeout=2 * PATIENCE))
        until(lambda: len(client.range("coord/queues/mail/line/", prefix=True).items) == 1, "somebody waits")
        server.restart()
        job.ack(timeout=PATIENCE)
        second.nack(timeout=PATIENCE)
        again = waiting()
        assert (again.text, again.tries) == ("1", 2)
        again.ack(timeout=PATIENCE)
        assert client.queue("mail").depth(timeout=PATIENCE).total == 0
