"""What a model is made of, how values become text, and how layers lie on each other."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict
from uuid import UUID

import pydantic
import pytest

from coord.errors import ConfigInvalid, UsageError
from coord.model import DEFAULT
from coord.recipes.config.changing import amend, wanted
from coord.recipes.config.frozen import frozen
from coord.recipes.config.layers import Layer, Layers, read_defaults, read_environment, read_file
from coord.recipes.config.shape import OPEN, find, nest, shape_of
from coord.recipes.config.text import Leaf, decode, encode

Port = NewType("Port", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Db:
    host: str = "localhost"
    port: Port = Port(5432)


@dataclass(frozen=True)
class Everything:
    text: str = ""
    whole: int = 0
    part: float = 0.0
    truth: bool = False
    maybe: str | None = None
    count: int | None = 3
    either: int | str = 0
    listed: list[int] = field(default_factory=list)
    pair: tuple[int, str] = (0, "")
    many: tuple[int, ...] = ()
    some: Sequence[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    table: dict[str, int] = field(default_factory=dict)
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    mode: Literal["fast", "slow"] = "fast"
    size: Literal[1, 2] = 1
    path: Path = Path("/")
    money: Decimal = Decimal(0)
    day: date = date(2000, 1, 1)
    at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    span: timedelta = timedelta(0)
    id: UUID | None = None
    any: Any = None
    noted: Annotated[int, "a note"] = 0
    db: Db = field(default_factory=Db)
    dbs: list[Db] = field(default_factory=list)


class PydanticDb(pydantic.BaseModel):
    host: str = "localhost"
    port: int = 5432


class Model(pydantic.BaseModel):
    text: str = ""
    whole: int = 0
    secret: pydantic.SecretStr = pydantic.SecretStr("")
    tags: list[str] = []
    span: timedelta = timedelta(0)
    level: Level = Level.LOW
    named: int = pydantic.Field(0, alias="theName")
    db: PydanticDb = PydanticDb()
    other: PydanticDb | None = None

    @pydantic.field_validator("whole")
    @classmethod
    def _small(cls, value: int) -> int:
        if value > 100:
            raise ValueError("is too large")
        return value


class Typed(TypedDict):
    text: str
    whole: NotRequired[int]


def layers(model: Any, *below: Layer) -> Layers:
    strangers: list[str] = []
    made = Layers(model, shape_of(model), below, strangers.append)
    made.strangers = strangers  # type: ignore[attr-defined]  # for the test to look at
    return made


def built(model: Any, **texts: str) -> Any:
    return layers(model).build({name.replace("__", "/"): text for name, text in texts.items()}).value


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


# --- changes


def changed(texts: Mapping[str, str], changes: Any, model: Any = dict, current: Any = None) -> dict[str, str]:
    shape = shape_of(model)
    return amend(texts, wanted(changes, current, shape), shape)


def test_fields_are_changed_one_by_one() -> None:
    texts = {"db/host": "a", "db/port": "1", "x": "2"}
    assert changed(texts, {"db": {"port": 3}}) == {"db/host": "a", "db/port": "3", "x": "2"}
    assert changed(texts, {"db/port": 3}, Everything) == {"db/host": "a", "db/port": "3", "x": "2"}
    assert changed(texts, {"db": Db("b", Port(4))}, Everything) == {"db/host": "b", "db/port": "4", "x": "2"}


def test_default_takes_a_field_out() -> None:
    texts = {"db/host": "a", "db/port": "1", "x": "2"}
    assert changed(texts, {"db": DEFAULT}) == {"x": "2"}
    assert changed(texts, {"db/port": DEFAULT}, Everything) == {"db/host": "a", "x": "2"}


def test_a_value_and_a_record_take_each_others_place() -> None:
    assert changed({"db/host": "a"}, {"db": 5}) == {"db": "5"}
    assert changed({"db": "5"}, {"db": {"host": "a"}}) == {"db/host": "a"}
    assert changed({}, {"db": {}}) == {"db": "{}"}
    assert changed({"db": "{}"}, {"db": {"host": "a"}}) == {"db/host": "a"}


def test_an_object_is_taken_apart_before_a_part_of_it_changes() -> None:
    texts = {"db": '{"host":"a","port":1}'}
    assert changed(texts, {"db/port": DEFAULT}, Everything) == {"db/host": "a"}
    assert changed(texts, {"db/port": 2}) == {"db/host": "a", "db/port": "2"}
    assert changed(texts, {"db": {}}, Everything) == texts


def test_a_changed_copy_is_its_differences() -> None:
    current = Everything(whole=1)
    assert changed({}, dataclasses.replace(current, whole=2), Everything, current) == {"whole": "2"}
    shown = Model.model_validate({"whole": 1})
    copied = shown.model_copy(update={"db": PydanticDb(port=2)})
    assert changed({}, copied, Model, shown) == {"db/port": "2"}


@pytest.mark.parametrize(
    "changes", [{"nothing": 1}, {"db/nothing": 1}, {"": 1}, {"a//b": 1}, {5: 1}, 5, "x", {"db": 5}]
)
def test_changes_of_no_field_are_refused(changes: Any) -> None:
    with pytest.raises((UsageError, ConfigInvalid)):
        changed({}, changes, Everything)


# --- layers


def test_layers_lie_on_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "app.toml"
    file.write_text('whole = 2\npart = 2.0\nmaybe = "file"\n[db]\nhost = "file"\n')
    monkeypatch.setenv("APP_PART", "3")
    monkeypatch.setenv("APP_DB__PORT", "3")
    monkeypatch.setenv("APP_MAYBE", "environment")
    monkeypatch.setenv("APP_NOTHING", "ignored")
    shape = shape_of(Everything)
    made = layers(
        Everything,
        read_defaults({"text": "default", "whole": 1}, shape),
        read_file(file, shape),
        read_environment("APP_", shape),
    )
    found = made.build({"maybe": "stored"})
    assert (found.value.text, found.value.whole, found.value.part, found.value.maybe) == ("default", 2, 3.0, "stored")
    assert found.value.db == Db("file", Port(3))
    assert dict(found.origins) == {
        "text": "defaults",
        "whole": "file",
        "part": "environment",
        "maybe": "etcd",
        "db/host": "file",
        "db/port": "environment",
    }


def test_a_layer_hides_what_does_not_go_with_it() -> None:
    """A value over a record, a record over a value, and nothing at all over a record."""
    below = Layer("file", {"a": 1, "b/x": 1, "c/x": 1, "d": {}})
    made = layers(dict, below)
    assert made.build({"a/x": "2", "b": "2", "c/y": "2", "d/x": "2"}).value == {
        "a": {"x": 2},
        "b": 2,
        "c": {"x": 1, "y": 2},
        "d": {"x": 2},
    }
    stored = amend({"other/port": "1"}, {"other": None}, shape_of(Model))
    assert stored == {"other": "null"}
    assert layers(Model, Layer("file", {"other/host": "a"})).build(stored).value.other is None


def test_an_object_of_the_model_gives_all_defaults() -> None:
    shape = shape_of(Everything)
    given = Everything(whole=5, db=Db("a"))
    assert layers(Everything, read_defaults(given, shape)).build({}).value == given


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"db": {"port": 1}}'),
        ("a.yaml", "db: {port: 1}"),
        ("a.YML", "db:\n  port: 1\n"),
        ("a.toml", "db.port = 1"),
    ],
)
def test_files_of_all_kinds(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_file(tmp_path / name, shape_of(Everything)) == Layer("file", {"db/port": 1})


def test_an_empty_yaml_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    assert read_file(tmp_path / "a.yaml", shape_of(dict)) == Layer("file", {})


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.json", "{", ConfigInvalid),
        ("a.yaml", "a: [", ConfigInvalid),
        ("a.toml", "=", ConfigInvalid),
        ("a.json", "[1]", ConfigInvalid),
        ("a.json", '{"db": 5}', ConfigInvalid),
        ("a.json", '{"": 5}', ConfigInvalid),
        ("a.ini", "", UsageError),
        ("missing.json", None, UsageError),
    ],
)
def test_bad_files_are_told(tmp_path: Path, name: str, content: str | None, kind: type[Exception]) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(kind, match=name):
        read_file(tmp_path / name, shape_of(Everything))


@pytest.mark.parametrize("defaults", [{"nothing": 1}, {"db": 5}, 5])
def test_bad_defaults_are_told(defaults: Any) -> None:
    with pytest.raises(UsageError):
        read_defaults(defaults, shape_of(Everything))


def test_an_environment_prefix_is_text() -> None:
    for prefix in ("", None):
        bad: Any = prefix
        with pytest.raises(UsageError, match="env_prefix"):
            read_environment(bad, shape_of(dict))
