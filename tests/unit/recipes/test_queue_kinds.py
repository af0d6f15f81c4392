"""Queues with priorities, delays, keys, room and gates, on a port without network."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from coord.errors import QueueFull, UsageError
from coord.recipes.queues.kinds import DelayQueue, GatedQueue, PriorityQueue
from coord.recipes.queues.queue import Queue
from tests.unit.recipes.direct import Place, Stuck

ROOT = b"coord/queues/mail/"


def made(place: Place, **more: Any) -> Queue:
    return Queue(place.client(), "mail", **more)


def keys(place: Place, below: bytes) -> list[bytes]:
    return sorted(key.removeprefix(ROOT) for key in place.server.keys(ROOT + below))


def test_delayed_jobs_join_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0 + place.clock.now())
    later = DelayQueue(place.client(), "mail")
    later.put("second", delay=20)
    later.put("first", delay=10)
    assert later.try_take() is None
    place.clock.advance(30)
    later.put("third")
    assert [later.take().text for _ in range(3)] == ["third", "first", "second"]


def test_the_best_priority_first() -> None:
    mail = PriorityQueue(Place().client(), "mail")
    for priority in (255, 0, 100):
        mail.put(f"{priority}", priority=priority)
    assert [mail.take().text for _ in range(3)] == ["0", "100", "255"]


@pytest.mark.parametrize("priority", [-1, 256, 1.0, True])
def test_wrong_priorities(priority: Any) -> None:
    with pytest.raises(UsageError):
        PriorityQueue(Place().client(), "mail").put("x", priority=priority)


# --- keys, room, gates


def test_a_key_is_put_once_within_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0 + place.clock.now())
    one, other = made(place, window=60, ttl=600), made(place, window=60, ttl=600)
    first = one.put("0", key="order 7")
    assert other.put("1", key="order 7") == first
    assert other.put("2", key="order 8") != first
    one.take().ack()
    assert one.put("3", key="order 7") == first
    place.clock.advance(59.9)
    assert one.put("4", key="order 7") == first
    place.clock.advance(0.2)
    second = one.put("5", key="order 7")
    assert second != first
    assert other.put("6", key="order 7") == second
    assert [one.take().text for _ in range(2)] == ["2", "5"]


def test_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0 + place.clock.now())
    mail = made(place, window=5, ttl=600)
    for n in range(12):
        mail.put("x", key=f"{n}")
    place.clock.advance(6)
    for n in range(4):
        mail.put("x", key=f"new {n}")
    assert keys(place, b"seen/") == [b"seen/new%%20%d" % n for n in range(4)]
    assert len(keys(place, b"fades/")) == 4


def test_a_full_queue_takes_no_more() -> None:
    place = Place()
    mail = made(place, capacity=2)
    mail.put("0")
    mail.put("1")
    with pytest.raises(QueueFull) as caught:
        mail.put("2", timeout=0)
    assert isinstance(caught.value, queue.Full)
    with pytest.raises(QueueFull):
        mail.put("2", timeout=3)
    with pytest.raises(Stuck):
        mail.put("2")
    job = mail.take()
    with pytest.raises(QueueFull):
        mail.put("2", timeout=0)
    job.ack()
    mail.put("2", timeout=0)
    assert mail.depth().total == 2
    assert keys(place, b"room/") == []


def test_a_producer_that_waits_for_room_gets_it() -> None:
    place = Place()
    client, mail = place.client(), made(place)
    mail.put("0")
    client.while_waiting.append(lambda: mail.take().ack())
    Queue(client, "mail", capacity=1).put("1")
    assert mail.take().text == "1"


def test_the_dead_need_no_room() -> None:
    mail = made(Place(), capacity=1, tries=1)
    mail.put("0")
    mail.take().nack()
    mail.put("1", timeout=0)
    assert (mail.depth().dead, mail.depth().ready) == (1, 1)


def test_a_gate_opens_when_so_many_are_ready() -> None:
    place = Place()
    mail = GatedQueue(place.client(), "mail", count=2)
    mail.put("0")
    assert mail.try_take() is None
    assert not mail.is_open()
    mail.put("1")
    assert mail.take().text == "0"
    assert mail.is_open()
    assert mail.take().text == "1"
    mail.put("2")
    assert mail.take().text == "2"


def test_a_gate_opens_when_a_task_was_put() -> None:
    place = Place()
    mail = GatedQueue(place.client(), "mail", task="compile")
    mail.put("0")
    mail.put("1", task="link")
    assert mail.try_take() is None
    mail.put("2", task="compile")
    assert [mail.take().text for _ in range(2)] == ["0", "1"]
    mail.take().ack()
    assert keys(place, b"tasks/") == [b"tasks/link"]


def test_a_controller_says_go_and_halt() -> None:
    place = Place()
    client = place.client()
    mail, controller = GatedQueue(client, "mail"), GatedQueue(place.client(), "mail")
    mail.put("0")
    mail.put("1")
    client.while_waiting.append(controller.go)
    assert mail.take().text == "0"
    controller.halt()
    assert mail.try_take() is None
    controller.go()
    assert mail.take().text == "1"


def test_a_halted_gate_opens_again_when_enough_are_ready() -> None:
    place = Place()
    client = place.client()
    mail, other = GatedQueue(client, "mail", count=2), made(place)
    other.put("0")
    mail.go()
    mail.halt()
    client.while_waiting.append(lambda: other.put("1"))
    assert mail.take().text == "0"


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": True}, {"task": ""}, {"task": 3}])
def test_wrong_gates(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        GatedQueue(Place().client(), "mail", **wrong)


@pytest.mark.parametrize("key", ["", 3, "\ud800"])
def test_wrong_keys(key: Any) -> None:
    with pytest.raises(UsageError):
        made(Place()).put("x", key=key)
    with pytest.raises(UsageError):
        GatedQueue(Place().client(), "mail").put("x", task=key)
