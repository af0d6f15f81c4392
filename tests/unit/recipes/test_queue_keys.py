"""What queues store: read as it is written, and strangers among it."""

from __future__ import annotations

import logging

import pytest

from coord.model import KeyValue
from coord.ops import Put, Txn
from coord.recipes.queues.names import (
    Names,
    Standing,
    milliseconds,
    parse_content,
    parse_facts,
    parse_ready,
    parse_slot,
)
from coord.recipes.queues.page import Front
from coord.recipes.queues.queue import Queue
from tests.unit.recipes.direct import Place

ROOT = b"coord/queues/mail/"


def test_strangers_among_the_keys_are_passed_by(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    for key in (b"ready/x", b"ready/64/x", b"later/x", b"later/0000000000000001-x", b"taken/job/x"):
        place.server.txn(Txn(then=(Put(ROOT + key, b"?"),)))
    mail = Queue(place.client(), "mail")
    mail.put("0")
    with caplog.at_level(logging.WARNING, logger="coord.queue"):
        with mail.take() as job:
            assert job.text == "0"
        assert mail.try_take() is None
    assert "taken/job/x" in caplog.text


def test_a_job_without_content_is_passed_by(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    standing = Standing("gone")
    place.server.txn(Txn(then=(Put(Names("mail").ready_at(standing)),)))
    mail = Queue(place.client(), "mail")
    mail.put("x")
    with caplog.at_level(logging.WARNING, logger="coord.queue"):
        assert mail.take().text == "x"
    assert "'gone'" in caplog.text


@pytest.mark.parametrize(
    "slot", ["", "64", "64/1-x", "6/0000000000000001-x", "64/000000000000000g-x", "64/0000000000000001"]
)
def test_what_is_no_slot(slot: str) -> None:
    assert parse_slot(slot) is None


def test_slots_and_facts_are_read_as_they_are_written() -> None:
    standing = Standing("a-1-2", 7, 12, 15, 99, 3)
    assert parse_slot(standing.slot) == Standing("a-1-2", 7, 12)
    assert parse_facts(standing.encode(by="x")) == (standing, standing.facts() | {"by": "x"})
    names = Names("mail")
    item = KeyValue(names.ready_at(standing), standing.ready_value(), create_revision=40)
    assert parse_ready(names, item) == standing
    fresh = Standing("a-1-2", 7, 12)
    assert fresh.ready_value() == b""
    assert parse_ready(names, KeyValue(names.ready_at(fresh), b"", create_revision=40)) == Standing("a-1-2", 7, 12, 40)
    assert parse_ready(names, item._replace(value=b"[]")) is None
    for wrong in (b"", b"{}", b"[]", b'{"slot":1}', b'{"slot":"64/0000000000000001-x","order":"y","due":0,"tries":0}'):
        assert parse_facts(wrong) is None


def test_content_of_others_is_a_value() -> None:
    assert parse_content(b"plain").value == b"plain"
    assert parse_content(b"[1]\nrest").value == b"[1]\nrest"


def test_instants_are_never_early() -> None:
    assert milliseconds(1.0001) == 1001
    assert milliseconds(1.0) == 1000
    assert milliseconds(-5) == 0


def test_a_page_is_sure_only_of_what_cannot_be_behind_what_it_does_not_show() -> None:
    place = Place()
    names = Names("mail")
    revisions = {}
    for _ in range(10):
        place.server.put(b"other", b"")
    # An old slot, created last, hides nothing: what was put before it comes first.
    for job, seen in (("b", 9), ("c", 10), ("d", 13), ("a", 1)):
        put = place.server.txn(Txn(then=(Put(names.ready_at(Standing(job, seen=seen))),)))
        revisions[job] = put.header.revision
    assert revisions["c"] <= 13 < revisions["d"]

    def sure(limit: int) -> list[str]:
        front = Front(names, page=limit)
        return [each.standing.job for each in front.page(place.server.txn(Txn(then=front.reads()))).sure]

    assert sure(1) == sure(2) == []
    assert sure(4) == sure(5) == ["b", "c", "d", "a"]
    place.server.put(names.ready_at(Standing("e", seen=14)), b"")
    assert sure(4) == ["b", "c"]
