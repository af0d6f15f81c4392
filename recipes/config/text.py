"""How one value is written as text: etcd holds text, a field has a type. Pure.

- A field of text (`str`, and what is made from text: enumerations, paths, dates, secrets) is stored as it is.
- Everything else is stored as JSON: ``5``, ``true``, ``["a","b"]``, ``{"a":1}``. Text that is no JSON is text, so that
  ``etcdctl put /app/level debug`` needs no quotes; a text that looks like JSON is quoted when coord writes it.
- ``null`` is None where the field may be None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from coord.errors import UsageError


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that has one value.

    Attributes:
        kind: its declared type.
        text: what is stored is the text itself, not JSON.
        nullable: ``null`` stands for None.
    """

    kind: Any = Any
    text: bool = False
    nullable: bool = False


def decode(text: str, leaf: Leaf) -> Any:
    """What a stored text means."""
    if leaf.nullable and text == "null":
        return None
    return text if leaf.text else loosely(text)


def loosely(text: str) -> Any:
    """JSON if it is JSON, else the text."""
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text


def encode(value: Any, leaf: Leaf, where: str) -> str:
    """The text of a value, which `decode` turns back into it.

    Raises:
        UsageError: there is none.
    """
    if leaf.nullable and value is None:
        return "null"
    text = _as_text(value, leaf, where) if leaf.text else _as_json(value, where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: it is stored as UTF-8, which this is not: {error}") from error
    if leaf.nullable and text == "null":
        raise UsageError(f"{where}: the text 'null' stands for None there")
    return text


def _as_text(value: Any, leaf: Leaf, where: str) -> str:
    try:
        plain = simple(value)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from error
    if isinstance(plain, str):
        return plain
    if leaf.kind is str or plain is None or isinstance(plain, (dict, list)):
        raise UsageError(f"{where}: it is text, not {value!r}")
    return str(plain)


def _as_json(value: Any, where: str) -> str:
    try:
        plain = simple(value)
        if isinstance(plain, str) and loosely(plain) == plain:
            return plain
        return json.dumps(plain, default=simple, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {value!r} cannot be stored: {error}") from error


def simple(value: Any) -> Any:
    """What JSON has in the place of a Python value; text for what is made from text.

    Raises:
        TypeError: nothing.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    found = record(value)
    if found is not None:
        return found
    if isinstance(value, (Set, tuple, list)):
        return list(value)
    for name in ("get_secret_value", "isoformat", "total_seconds"):
        method = getattr(value, name, None)
        if method is not None:
            return method()
    kind: Any = type(value)
    if kind.__str__ is object.__str__:
        raise TypeError(f"a {type(value).__name__} has no text")
    return str(value)


def record(value: Any) -> dict[str, Any] | None:
    """The fields of a mapping, a dataclass or a pydantic model; None if it is none of them."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    names = getattr(type(value), "model_fields", None)
    if names is not None and hasattr(value, "model_validate"):
        # Not model_dump: its JSON has asterisks where a secret is.
        return {name: getattr(value, name) for name in names}
    return None


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
