"""Which fields a model has, and how they become paths: ``{"db": {"host": …}}`` is ``db/host``. Pure.

A model is a pydantic model (recognised by ``model_validate``; pydantic is never imported), a dataclass, a TypedDict, or
`dict`, which has whatever is stored.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from coord.errors import ConfigInvalid, UsageError
from coord.model import Default
from coord.recipes.config.text import Leaf, decode, loosely
from coord.recipes.config.text import record as record_of_value

Strange = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Record:
    """What has fields.

    Attributes:
        fields: the declared ones by name; all are of any name in `OPEN`.
        aliases: what the model calls a field, where that is not its name.
        closed: what belongs to no field is left out; otherwise the model sees it.
        nullable: it may be None instead, stored as ``null`` at its own key.
    """

    fields: Mapping[str, Node] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    nullable: bool = False


Node = Leaf | Record

OPEN: Final = Record()
"""What may have any fields, or be a value."""

_JSON: Final = (bool, int, float, timedelta, type(None), Mapping, Collection)
"""Kinds of which JSON is the natural text; a timedelta is seconds."""


def shape_of(model: Any) -> Record:
    """The fields of a model.

    Raises:
        UsageError: it is none.
    """
    if model is dict or get_origin(model) is dict:
        return OPEN
    found = _record(model, ())
    if found is None:
        raise UsageError(f"a model is a pydantic model, a dataclass, a TypedDict or dict, not {model!r}")
    return found


def _record(kind: Any, inside: tuple[Any, ...]) -> Record | None:
    if not isinstance(kind, type) or kind in inside:
        return None  # what contains itself is one value
    within = (*inside, kind)
    if hasattr(kind, "model_validate") and hasattr(kind, "model_fields"):
        found: Mapping[str, Any] = kind.model_fields
        aliases = {name: alias for name, info in found.items() if (alias := _alias(info)) is not None}
        closed = getattr(kind, "model_config", {}).get("extra", "ignore") == "ignore"
        return Record({name: _node(info.annotation, within) for name, info in found.items()}, aliases, closed)
    if not is_dataclass(kind) and not is_typeddict(kind):
        return None
    hints = get_type_hints(kind)
    names = [each.name for each in fields(kind) if each.init] if is_dataclass(kind) else list(hints)
    return Record({name: _node(hints[name], within) for name in names}, closed=True)


def _alias(info: Any) -> str | None:
    """What a pydantic field is called in the data."""
    wanted = info.validation_alias
    for each in getattr(wanted, "choices", None) or (wanted, info.alias):
        if isinstance(each, str):
            return each
    return None


def _node(kind: Any, inside: tuple[Any, ...]) -> Node:
    plain = bare(kind)
    members = [bare(each) for each in members_of(plain)]
    single = [each for each in members if each is not type(None)]
    if len(single) != 1:
        return Leaf(plain)
    nullable = len(members) > 1
    record = _record(single[0], inside)
    return Leaf(plain, _is_text(single[0]), nullable) if record is None else replace(record, nullable=nullable)


def bare(kind: Any) -> Any:
    """A declared type without what only comments on it."""
    while True:
        if get_origin(kind) in (Annotated, Required, NotRequired):
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        else:
            return kind


def members_of(kind: Any) -> tuple[Any, ...]:
    """The members of a union; anything else is its own only member."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(each, str) for each in get_args(kind))
    whole = get_origin(kind) or kind
    if not isinstance(whole, type) or isinstance(kind, TypeVar) or whole in (object, Any):
        return False
    if issubclass(whole, (Enum, str)):
        return True
    return not issubclass(whole, _JSON) and not is_dataclass(whole) and not hasattr(whole, "model_validate")


# --- paths


def join(path: str, name: object) -> str:
    """The path of a field below another.

    Raises:
        UsageError: it is no name.
    """
    if not isinstance(name, str) or not all(name.split("/")):
        raise UsageError(f"the name of a field is text without empty parts between slashes, not {name!r}")
    return f"{path}/{name}" if path else name


def above(path: str) -> Iterator[str]:
    """The paths that this one is below, longest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def find(shape: Record, path: str) -> Node | None:
    """The field at a path; None if there is none."""
    node: Node = shape
    for name in path.split("/"):
        if isinstance(node, Leaf):
            return None
        found = node.fields.get(name, None if node.closed else OPEN)
        if found is None:
            return None
        node = found
    return node


def flatten(value: Any, shape: Record, strange: Strange) -> dict[str, Any]:
    """The values of all fields by path; `strange` is told of paths that are no field, and they are left out.

    Raises:
        UsageError: these are no fields, or something has no name that can be stored.
        ConfigInvalid: a value stands where a record is.
    """
    if record_of_value(value) is None:
        raise UsageError(f"the fields are wanted by name, not {value!r}")
    out: dict[str, Any] = {}
    _flatten(value, shape, "", out, strange, shape)
    return out


def _flatten(value: Any, node: Node | None, path: str, out: dict[str, Any], strange: Strange, shape: Record) -> None:
    if node is None:
        strange(path)
        return
    within = record_of_value(value) if isinstance(node, Record) and not isinstance(value, Default) else None
    if within is None:
        whole = isinstance(node, Leaf) or node is OPEN or isinstance(value, Default)
        if not whole and not (value is None and node.nullable):
            raise ConfigInvalid(f"{path} has fields of its own and is no single value: {value!r}")
        out[path] = value
        return
    if not within and path:
        out[path] = {}
    for name, each in within.items():
        below = join(path, name)
        _flatten(each, find(shape, below), below, out, strange, shape)


def decode_all(texts: Mapping[str, str], shape: Record, strange: Strange) -> dict[str, Any]:
    """The values of all fields by path, from stored texts. A record may also be one JSON object; keys below it win.

    Raises:
        ConfigInvalid: what is stored cannot be a field.
    """
    out: dict[str, Any] = {}
    for path in sorted(texts):  # a record before what is below it
        text = texts[path]
        node = find(shape, path)
        if node is None:
            strange(path)
            continue
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigInvalid(f"{path} is no UTF-8 text") from None
        value = decode(text, node) if isinstance(node, Leaf) else loosely(text)
        try:
            _flatten(value, node, path, out, strange, shape)
        except UsageError as error:
            raise ConfigInvalid(f"{path}: {error}") from error
    return out


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested fields from paths.

    Raises:
        ConfigInvalid: something is both a value and has fields.
    """
    tree: dict[str, Any] = {}
    for path in sorted(values):
        *way, last = path.split("/")
        node: Any = tree
        for name in way:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ConfigInvalid(f"{path} lies below a field that has a value itself")
        node[last] = dict(values[path]) if isinstance(values[path], dict) else values[path]
    return tree


def renamed(tree: Mapping[str, Any], shape: Record) -> dict[str, Any]:
    """Nested fields under the names that the model has for them."""
    found = {}
    for name, each in tree.items():
        node = shape.fields.get(name)
        below = renamed(each, node) if isinstance(node, Record) and isinstance(each, Mapping) else each
        found[shape.aliases.get(name, name)] = below
    return found
