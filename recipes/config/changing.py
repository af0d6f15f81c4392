"""Changes of a configuration: which stored texts become which. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coord.errors import ConfigInvalid, UsageError
from coord.model import Default
from coord.recipes.config.shape import OPEN, Record, above, find, flatten
from coord.recipes.config.stored import changed_fields
from coord.recipes.config.text import Leaf, encode, loosely, record


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that two states of a configuration differ in.

    Attributes:
        field: its path.
        before: its stored text in the first; None if it was not stored.
        after: its stored text in the second; None if it was not stored.
    """

    field: str
    before: str | None
    after: str | None


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Difference, ...]:
    """The fields that two states differ in, by path."""
    return tuple(Difference(path, before.get(path), after.get(path)) for path in changed_fields(before, after))


def wanted(changes: Any, current: Any, shape: Record) -> dict[str, Any]:
    """The values by path that `changes` asks for: fields by name, or a whole object of the model that differs.

    Raises:
        UsageError: it names what is no field.
        ConfigInvalid: a value stands where a record is.
    """

    def refuse(path: str) -> None:
        raise UsageError(f"the model has no field {path!r}")

    found = flatten(changes, shape, refuse)
    if isinstance(changes, Mapping) or record(current) is None:
        return found
    shown = flatten(current, shape, refuse)
    return {path: value for path, value in found.items() if path not in shown or shown[path] != value}


def amend(texts: Mapping[str, str], changes: Mapping[str, Any], shape: Record) -> dict[str, str]:
    """The stored texts after changes by path; DEFAULT takes a field out, so that the layer below it shows.

    Raises:
        UsageError: a value cannot be stored.
    """
    after = dict(texts)
    for path, value in changes.items():
        node = find(shape, path)
        if isinstance(node, Record) and node is not OPEN and value == {}:
            continue  # none of its fields is changed
        _make_room(after, path, shape)
        if not isinstance(value, Default):
            after[path] = encode(value, node if isinstance(node, Leaf) else Leaf(), path)
    return after


def _make_room(texts: dict[str, str], path: str, shape: Record) -> None:
    """Take out what is stored at and below a path; what is stored above it becomes single fields."""
    for stored in [each for each in texts if each == path or each.startswith(path + "/")]:
        del texts[stored]
    for higher in above(path):
        if higher not in texts:
            continue
        whole = loosely(texts.pop(higher))
        if not isinstance(whole, dict):
            continue  # a value gets fields: they take its place
        try:
            parts = flatten({higher: whole}, shape, lambda _: None)
        except (UsageError, ConfigInvalid):
            continue  # it was no configuration, and is replaced by one
        for part, value in parts.items():
            if part not in (path, higher) and not part.startswith(path + "/"):
                node = find(shape, part)
                texts.setdefault(part, encode(value, node if isinstance(node, Leaf) else Leaf(), part))
