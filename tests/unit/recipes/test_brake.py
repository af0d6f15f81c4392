"""Most instances vanish at once: they are kept for a while, unless they said goodbye."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coord.errors import UsageError
from coord.model import Event, EventKind, KeyValue
from coord.recipes.registry.brake import Brake
from coord.recipes.registry.instance import LEAVING, Instance, new_instance
from coord.recipes.registry.roster import Roster
from tests.unit.recipes.direct import Place
from tests.unit.recipes.test_registry import client_of, registered


class Service:
    """A service of some instances, seen by a roster with a brake."""

    def __init__(self, count: int, **settings: Any) -> None:
        self.now = 0.0
        self.roster = Roster(
            Brake(**{"share": 0.5, "window": 15, "hold": 60, "fewest": 3} | settings), lambda: self.now
        )
        self.revision = 1
        for number in range(count):
            self.joins(number)

    def _instance(self, number: int, state: str) -> Instance:
        return new_instance("s", "x", id=f"i{number}", state=state)

    def joins(self, number: int, state: str = "up") -> None:
        self.revision += 1
        made = self._instance(number, state)
        item = KeyValue(made.key, made.encode(), create_revision=self.revision)
        self.roster.apply([Event(EventKind.PUT, item)], self.revision)

    def vanishes(self, *numbers: int) -> None:
        for number in numbers:
            self.revision += 1
            gone = KeyValue(self._instance(number, "up").key)
            self.roster.apply([Event(EventKind.DELETE, gone)], self.revision)

    def closes(self, *numbers: int) -> None:
        for number in numbers:
            self.joins(number, LEAVING)
            self.vanishes(number)

    @property
    def kept(self) -> list[str]:
        return sorted(each.id for each in self.roster.kept(self.now).values())

    @property
    def there(self) -> list[str]:
        return [each.id for each in self.roster.seen.instances]


def test_most_vanish_and_are_kept_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(5)
    service.vanishes(0, 1)
    assert service.kept == [], "two of five are no reason"
    service.now = 14
    service.vanishes(2)
    assert service.kept == ["i0", "i1", "i2"]
    assert service.there == ["i3", "i4"], "what is registered is told as it is"
    assert "3 of 5 instances vanished" in caplog.text
    service.vanishes(3)
    assert service.kept == ["i0", "i1", "i2", "i3"]
    service.now = 14 + 59.9
    assert len(service.kept) == 4
    service.now = 14 + 60
    assert service.kept == []
    assert "gone for too long" in caplog.text


def test_who_comes_back_is_there_again() -> None:
    service = Service(5)
    service.vanishes(0, 1, 2, 3, 4)
    service.joins(0)
    assert service.kept == ["i1", "i2", "i3", "i4"]
    service.joins(1)
    service.joins(7)
    assert service.kept == [], "three of five would not have engaged it, whoever they are"


def test_whoever_is_closed_is_never_kept() -> None:
    service = Service(6)
    service.closes(0, 1, 2, 3, 4)
    assert service.kept == []
    other = Service(6)
    other.vanishes(0, 1, 2, 3)
    other.closes(4)
    assert other.kept == ["i0", "i1", "i2", "i3"]
    other.joins(1, LEAVING)
    assert other.kept == ["i0", "i2", "i3"], "not even if it vanished before"


def test_slowly_is_not_at_once() -> None:
    service = Service(6)
    for number in range(6):
        service.vanishes(number)
        service.now += 8
    assert service.kept == []


def test_few_are_no_mass() -> None:
    service = Service(2)
    service.vanishes(0, 1)
    assert service.kept == []


def test_a_list_that_is_suddenly_empty_brakes_too() -> None:
    service = Service(4)
    service.roster.replace([], 99)
    assert len(service.kept) == 4
    assert service.there == []


@pytest.mark.parametrize("share", [0, 1.5, -1, True, "half", None])
def test_what_is_no_share(share: Any) -> None:
    with pytest.raises(UsageError, match="share of the instances"):
        Brake(share)


def test_one_is_never() -> None:
    service = Service(4, share=1)
    service.vanishes(0, 1, 2, 3)
    assert service.kept == []


def test_closing_says_goodbye_and_then_deletes() -> None:
    place = Place()
    client = client_of(place)
    told: list[tuple[EventKind, bytes]] = []
    place.server.listeners.append(lambda _, events: told.extend((each.kind, each.item.value) for each in events))
    registration = registered(client)
    registration.settle()
    registration.close()
    alive = registration.instance
    leaves = replace(alive, state=LEAVING)
    assert told == [(EventKind.PUT, alive.encode()), (EventKind.PUT, leaves.encode()), (EventKind.DELETE, b"")]
