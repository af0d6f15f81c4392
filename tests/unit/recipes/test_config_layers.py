"""What a change makes of the stored texts, and how layers lie on each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coord.errors import ConfigInvalid, UsageError
from coord.model import DEFAULT
from coord.recipes.config.changing import amend, wanted
from coord.recipes.config.layers import Layer, read_defaults, read_environment, read_file
from coord.recipes.config.shape import shape_of
from tests.unit.recipes.config_models import (
    Db,
    Everything,
    Model,
    Port,
    PydanticDb,
    layers,
)

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
