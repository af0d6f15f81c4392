"""Making a model's object from plain values: pydantic models validate themselves, the others are checked here. Pure."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import (
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from coord.errors import ConfigInvalid
from coord.recipes.config.frozen import FrozenDict, FrozenList, frozen
from coord.recipes.config.shape import Record, bare, renamed


def build(model: Any, shape: Record, tree: Mapping[str, Any]) -> Any:
    """The model's object from nested values.

    Raises:
        ConfigInvalid: the model refuses them; its error is the cause.
    """
    try:
        if hasattr(model, "model_validate"):
            return model.model_validate(renamed(tree, shape))
        return _convert(dict(tree), model)
    except ConfigInvalid:
        raise
    # A model's own checks may raise anything; whatever it is, these values are not its.
    except Exception as error:
        raise ConfigInvalid(told(error)) from error


def told(error: Exception) -> str:
    """What a model's refusal says, without the values: they may be secrets."""
    details = getattr(error, "errors", None)
    if not callable(details):
        return str(error) or type(error).__name__
    lines = [f"{'/'.join(map(str, each['loc']))}: {each['msg']}" for each in details()]
    return "; ".join(line.removeprefix(": ") for line in lines)


class _Misfit(ValueError):
    """A value is not of its declared type."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


def _convert(value: Any, declared: Any) -> Any:
    """The value as its declared type has it.

    Text is what an environment and many files have for everything, so that a number or a truth value may be text.
    """
    kind = bare(declared)
    origin = get_origin(kind)
    if kind in (Any, object) or isinstance(kind, TypeVar):
        return frozen(value)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(kind))
    if origin is Literal:
        return _literal(value, get_args(kind))
    whole = origin or kind
    found = _CONVERTERS.get(whole)
    if found is not None:
        return found(value, get_args(kind))
    if is_dataclass(whole) or is_typeddict(whole):
        return _record(value, whole)
    if isinstance(whole, type) and issubclass(whole, Enum):
        return _literal(value, tuple(whole))
    return _made(value, whole)


def _one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    exact = [kind for kind in kinds if bare(kind) is type(value) or (value is None and bare(kind) is type(None))]
    refusals = []
    for kind in exact or kinds:
        try:
            return _convert(value, kind)
        except (ValueError, TypeError) as error:
            refusals.append(str(error))
    raise _Misfit(" or ".join(dict.fromkeys(refusals)))


def _literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for wanted in (lambda each: each, str):
        for choice in choices:
            plain = choice.value if isinstance(choice, Enum) else choice
            if value is choice or (type(value) is type(wanted(plain)) and value == wanted(plain)):
                return choice
    raise _Misfit(f"not one of {', '.join(repr(each.value if isinstance(each, Enum) else each) for each in choices)}")


_TRUTH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _truth(value: Any, _kinds: tuple[Any, ...]) -> bool:
    found = _TRUTH.get(str(value).lower()) if isinstance(value, (bool, int, str)) else None
    if found is None:
        raise _Misfit("not true or false")
    return found


def _whole(value: Any, _kinds: tuple[Any, ...]) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Misfit("not a whole number")
    return value


def _number(value: Any, _kinds: tuple[Any, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Misfit("not a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise _Misfit("not a number") from None


def _text(value: Any, _kinds: tuple[Any, ...]) -> str:
    if not isinstance(value, str):
        raise _Misfit("not text")
    return value


def _nothing(value: Any, _kinds: tuple[Any, ...]) -> None:
    if value is not None:
        raise _Misfit("not null")


def _span(value: Any, _kinds: tuple[Any, ...]) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=_number(value, ()))


def _items(value: Any, kinds: tuple[Any, ...]) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not hasattr(value, "__iter__"):
        raise _Misfit("not a list")
    kind = kinds[0] if kinds else Any
    return [_below(str(number), each, kind) for number, each in enumerate(value)]


def _list(value: Any, kinds: tuple[Any, ...]) -> Any:
    return FrozenList(_items(value, kinds))


def _tuple(value: Any, kinds: tuple[Any, ...]) -> Any:
    if not kinds or kinds[-1] is Ellipsis:
        return tuple(_items(value, kinds))
    found = _items(value, ())
    if len(found) != len(kinds):
        raise _Misfit(f"not {len(kinds)} values")
    return tuple(_below(str(number), each, kinds[number]) for number, each in enumerate(found))


def _mapping(value: Any, kinds: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise _Misfit("not an object")
    name_kind, kind = kinds or (str, Any)
    return FrozenDict({_convert(name, name_kind): _below(str(name), each, kind) for name, each in value.items()})


def _record(value: Any, kind: Any) -> Any:
    made: Any = kind if is_dataclass(kind) else None
    if made is not None and isinstance(value, made):
        return value
    if not isinstance(value, Mapping):
        raise _Misfit("not an object")
    hints = get_type_hints(kind)
    if made is not None:
        hints = {each.name: hints[each.name] for each in fields(made) if each.init}
    found = {name: _below(name, value[name], hint) for name, hint in hints.items() if name in value}
    if made is not None:
        return made(**found)
    missing = sorted(_required(kind) - found.keys())
    if missing:
        raise _Misfit(f"{', '.join(missing)} is missing")
    return FrozenDict(found)


def _required(kind: Any) -> set[str]:
    """The keys that a TypedDict must have; its own list is wrong where annotations are not evaluated (PEP 563)."""
    hints = get_type_hints(kind, include_extras=True)
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    return (set(kind.__required_keys__) - optional) | {
        name for name, hint in hints.items() if get_origin(hint) is Required
    }


def _made(value: Any, kind: Any) -> Any:
    """A path, a date, a number of another kind: made from its text."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise _Misfit(f"not the text of a {kind.__name__}")
    make: Callable[[str], Any] = getattr(kind, "fromisoformat", kind)
    try:
        return make(str(value))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _Misfit(f"not the text of a {kind.__name__}: {error}") from error


def _below(name: str, value: Any, kind: Any) -> Any:
    try:
        return _convert(value, kind)
    except _Misfit as error:
        raise _Misfit(error.reason, f"{name}/{error.path}" if error.path else name) from error


def _converters() -> dict[Any, Callable[[Any, tuple[Any, ...]], Any]]:
    import collections.abc as abc

    lists = dict.fromkeys((list, abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence), _list)
    mappings = dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), _mapping)
    sets = dict.fromkeys(
        (set, frozenset, abc.Set, abc.MutableSet), lambda value, kinds: frozenset(_items(value, kinds))
    )
    scalars = {bool: _truth, int: _whole, float: _number, str: _text, type(None): _nothing, timedelta: _span}
    return {**scalars, **lists, **mappings, **sets, tuple: _tuple}


_CONVERTERS: Final = _converters()
