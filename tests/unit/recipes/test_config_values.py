"""What a model is made of, and how its values become text."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from coord.errors import ConfigInvalid, UsageError
from coord.recipes.config.changing import amend, wanted
from coord.recipes.config.frozen import frozen
from coord.recipes.config.shape import OPEN, find, nest, shape_of
from coord.recipes.config.text import Leaf, decode, encode
from tests.unit.recipes.config_models import (
    Colour,
    Db,
    Everything,
    Level,
    Model,
    Port,
    PydanticDb,
    Typed,
    built,
    layers,
)

# --- texts of values

TEXTS = {
    "text": ("5", "5"),
    "whole": ("007", 7),
    "part": ("1", 1.0),
    "truth": ("Yes", True),
    "maybe": ("null", None),
    "count": ("null", None),
    "either": ("x", "x"),
    "listed": ('[1,"2"]', [1, 2]),
    "pair": ('[1,"a"]', (1, "a")),
    "many": ("[1,2]", (1, 2)),
    "some": ('["a"]', ["a"]),
    "names": ('["a","a"]', frozenset({"a"})),
    "table": ('{"a":1}', {"a": 1}),
    "colour": ("blue", Colour.BLUE),
    "level": ("2", Level.HIGH),
    "mode": ("slow", "slow"),
    "size": ("2", 2),
    "path": ("/tmp", Path("/tmp")),
    "money": ("1.10", Decimal("1.10")),
    "day": ("2024-02-29", date(2024, 2, 29)),
    "at": ("2024-02-29T12:00:00+00:00", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    "span": ("1.5", timedelta(seconds=1.5)),
    "id": ("00000000-0000-0000-0000-000000000007", UUID(int=7)),
    "any": ('{"a":[1]}', {"a": [1]}),
    "noted": ("9", 9),
    "dbs": ('[{"host":"a"}]', [Db("a")]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_dataclass_has_values_of_its_types(name: str) -> None:
    text, value = TEXTS[name]
    found = getattr(built(Everything, **{name: text}), name)
    assert found == value
    assert type(found) is type(value) or isinstance(found, type(value))


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_written_is_read_again(name: str) -> None:
    _, value = TEXTS[name]
    shape = shape_of(Everything)
    assert getattr(layers(Everything).build(amend({}, {name: value}, shape)).value, name) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("whole", "1.5", "whole: not a whole number"),
        ("whole", "true", "whole: not a whole number"),
        ("part", "x", "part: not a number"),
        ("truth", "perhaps", "truth: not true or false"),
        ("truth", "2", "truth: not true or false"),
        ("listed", '["a"]', "listed/0: not a whole number"),
        ("listed", "5", "listed: not a list"),
        ("pair", "[1]", "pair: not 2 values"),
        ("table", "[1]", "table: not an object"),
        ("table", '{"a":"x"}', "table/a: not a whole number"),
        ("colour", "green", "colour: not one of 'red', 'blue'"),
        ("mode", "1", "mode: not one of 'fast', 'slow'"),
        ("money", "x", "money: not the text of a Decimal"),
        ("day", "yesterday", "day: not the text of a date"),
        ("count", "x", "count: not a whole number or not null"),
        ("dbs", '[{"port":"x"}]', "dbs/0/port: not a whole number"),
        ("db", "5", "db has fields of its own"),
    ],
)
def test_a_value_of_another_type_is_invalid(name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says.replace("[", r"\[")):
        built(Everything, **{name: text})


def test_what_is_no_text_at_all_is_invalid() -> None:
    with pytest.raises(ConfigInvalid, match="text is no UTF-8 text"):
        built(Everything, text=b"\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "value", ["debug", "5", "true", "null", '"x"', "", " 5", "[", {"a": None}, [1, "b"], 1.5, None, False]
)
def test_without_a_type_a_value_comes_back_as_it_was(value: Any) -> None:
    text = encode(value, Leaf(), "x")
    assert decode(text, Leaf()) == value
    assert type(decode(text, Leaf())) is type(value)


def test_plain_text_needs_no_quotes() -> None:
    assert encode("debug", Leaf(), "x") == "debug"
    assert encode("5", Leaf(), "x") == '"5"'
    assert encode("5", Leaf(str, text=True), "x") == "5"


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        (Leaf(str, text=True), 5),
        (Leaf(str, text=True), None),
        (Leaf(Path, text=True), [1]),
        (Leaf(str, text=True, nullable=True), "null"),
        (Leaf(), float("nan")),
        (Leaf(), object()),
        (Leaf(Path, text=True), object()),
        (Leaf(), "\ud800"),
    ],
)
def test_what_cannot_be_stored_is_told(leaf: Leaf, value: Any) -> None:
    with pytest.raises(UsageError, match=r"^x: "):
        encode(value, leaf, "x")


# --- models


def test_a_pydantic_model_validates_itself() -> None:
    found = built(
        Model,
        text="5",
        whole="7",
        secret="123",
        tags='["a"]',
        span="2.5",
        level="2",
        named="4",
        db__port="1",
        other__host="b",
    )
    assert (found.text, found.whole, found.secret.get_secret_value(), found.tags) == ("5", 7, "123", ["a"])
    assert (found.span, found.level, found.named, found.db.port) == (timedelta(seconds=2.5), Level.HIGH, 4, 1)
    assert found.other == PydanticDb(host="b")


def test_a_refusal_names_the_field_and_not_the_value() -> None:
    """pydantic's own text has the input in it, which may be a password; it would stand in every log."""
    with pytest.raises(ConfigInvalid) as refusal:
        built(Model, whole="101")
    assert str(refusal.value) == "whole: Value error, is too large"
    assert isinstance(refusal.value.__cause__, pydantic.ValidationError)


def test_secrets_are_stored_as_they_are() -> None:
    shape = shape_of(Model)
    assert amend({}, {"secret": pydantic.SecretStr("abc")}, shape) == {"secret": "abc"}
    assert amend({}, wanted({"secret": "12"}, None, shape), shape) == {"secret": "12"}


@pytest.mark.parametrize("extra", ["ignore", "allow", "forbid"])
def test_a_pydantic_model_says_what_becomes_of_unknown_fields(extra: Any) -> None:
    model = pydantic.create_model("Extra", __config__=pydantic.ConfigDict(extra=extra), known=(int, 0))
    made = layers(model)
    if extra == "forbid":
        with pytest.raises(ConfigInvalid, match="unknown: Extra"):
            made.build({"unknown/x": "1"})
        return
    found = made.build({"known": "1", "unknown/x": "1"}).value
    assert found.known == 1
    assert (found.model_extra or {}) == ({"unknown": {"x": 1}} if extra == "allow" else {})
    assert made.strangers == ([] if extra == "allow" else ["unknown/x"])  # type: ignore[attr-defined]  # see above


def test_whatever_a_model_raises_is_a_refusal() -> None:
    @dataclass
    class Picky:
        x: int = 0

        def __post_init__(self) -> None:
            raise KeyError("no")

    with pytest.raises(ConfigInvalid, match="no"):
        built(Picky)


def test_a_typed_dict_has_its_keys() -> None:
    assert built(Typed, text="a", whole="2") == {"text": "a", "whole": 2}
    assert built(Typed, text="a") == {"text": "a"}
    with pytest.raises(ConfigInvalid, match="text is missing"):
        built(Typed, whole="2")


def test_a_field_without_default_must_be_there() -> None:
    @dataclass
    class Needs:
        x: int

    with pytest.raises(ConfigInvalid, match="x"):
        built(Needs)


def test_a_model_that_contains_itself_ends() -> None:
    shape = shape_of(Tree)
    assert built(Tree, name="a", below='{"name":"b"}') == Tree("a", Tree("b"))
    assert isinstance(find(shape, "below"), Leaf)


@dataclass(frozen=True)
class Tree:
    name: str = ""
    below: Tree | None = None


def test_a_dict_has_what_is_stored() -> None:
    assert built(dict, level="debug", db__host="a", db__port="5", on="true") == {
        "level": "debug",
        "db": {"host": "a", "port": 5},
        "on": True,
    }
    assert shape_of(dict[str, Any]) is OPEN


@pytest.mark.parametrize("model", [int, 5, None, list, object])
def test_other_models_are_refused(model: Any) -> None:
    with pytest.raises(UsageError, match="a model is"):
        shape_of(model)


def test_what_readers_share_cannot_be_changed() -> None:
    found = built(dict, a="[1]", b__c="2")
    for change in (
        lambda: found.update(x=1),
        lambda: found.__setitem__("a", 1),
        lambda: found.pop("a"),
        lambda: found["a"].append(2),
        lambda: found["b"].clear(),
    ):
        with pytest.raises(TypeError, match="update"):
            change()
    assert found == {"a": [1], "b": {"c": 2}}
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), dict(found)):
        other["new"] = 1
    assert json.loads(json.dumps(found)) == found
    assert frozen({"a": (1,)}) == {"a": (1,)}


# --- records at one key, paths


def test_a_record_may_be_one_object_and_keys_win() -> None:
    found = built(Everything, db='{"host":"a","port":1}', db__port="2")
    assert found.db == Db("a", Port(2))
    assert built(dict, db='{"host":"a","port":1}', db__port="2") == {"db": {"host": "a", "port": 2}}


def test_a_value_with_fields_below_is_invalid() -> None:
    with pytest.raises(ConfigInvalid, match="db/host lies below"):
        built(dict, db="5", db__host="a")


def test_a_key_below_a_single_value_is_no_field() -> None:
    made = layers(Everything)
    made.build({"whole": "1", "whole/x": "2", "nothing": "3"})
    assert made.strangers == ["nothing", "whole/x"]  # type: ignore[attr-defined]  # see above


def test_nesting() -> None:
    assert nest({"a/b": 1, "a/c/d": 2, "e": 3, "f": {}, "f/g": 4}) == {
        "a": {"b": 1, "c": {"d": 2}},
        "e": 3,
        "f": {"g": 4},
    }
