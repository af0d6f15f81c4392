"""What lies below the stored configuration: the model's own defaults < `defaults` < a file < the environment."""

from __future__ import annotations

import json
import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coord.errors import ConfigInvalid, UsageError
from coord.recipes.config.building import build
from coord.recipes.config.shape import OPEN, Record, above, decode_all, find, flatten, nest

logger = logging.getLogger("coord.config")

MODEL: Final = "model"
STORED: Final = "etcd"


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of some fields by path, and where they come from."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """A model's object, and where each of its fields comes from."""

    value: Any
    origins: Mapping[str, str]


class Layers:
    """A model with everything that lies below what is stored; read once.

    Args:
        model: the model.
        shape: its fields.
        below: the layers, lowest first.
        strange: told of stored paths that are no field.
    """

    def __init__(self, model: Any, shape: Record, below: tuple[Layer, ...], strange: Callable[[str], None]) -> None:
        self.model = model
        self.shape = shape
        self._below = below
        self._strange = strange

    def build(self, texts: Mapping[str, str]) -> Built:
        """The object that the stored texts make, on top of the layers.

        Raises:
            ConfigInvalid: they make none.
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for layer in (*self._below, Layer(STORED, decode_all(texts, self.shape, self._strange))):
            for hidden in _hidden(values, layer.values):
                del values[hidden], origins[hidden]
            values.update(layer.values)
            origins.update(dict.fromkeys(layer.values, layer.origin))
        return Built(build(self.model, self.shape, nest(values)), origins)


def _hidden(below: Mapping[str, Any], layer: Mapping[str, Any]) -> list[str]:
    """Paths of what lies below that a layer hides, since there it has a value for a record, or a record for a value."""
    records = {higher for path in layer for higher in above(path)}
    return [path for path in below if path in records or any(higher in layer for higher in above(path))]


def read_defaults(defaults: Any, shape: Record) -> Layer:
    """The layer of a mapping, or of an object of the model.

    Raises:
        UsageError: it names what is no field.
    """
    try:
        return Layer("defaults", flatten(defaults, shape, _refuse_default))
    except ConfigInvalid as error:
        raise UsageError(f"defaults: {error}") from error


def _refuse_default(path: str) -> None:
    raise UsageError(f"defaults: the model has no field {path!r}")


def read_file(file: str | os.PathLike[str], shape: Record) -> Layer:
    """The layer of a TOML, JSON or YAML file, as its suffix says.

    Raises:
        UsageError: it cannot be read, or is none of these.
        ConfigInvalid: what stands in it is no configuration.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
        found = _parse(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UsageError:
        raise
    # YAML's errors are of no common kind with the others'.
    except Exception as error:
        raise ConfigInvalid(f"{path}: {error}") from error
    if not isinstance(found, Mapping):
        raise ConfigInvalid(f"{path}: fields are wanted, not {type(found).__name__}")
    try:
        return Layer("file", flatten(found, shape, lambda name: logger.warning("%s: no field %r", path, name)))
    except (ConfigInvalid, UsageError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error


def _parse(path: Path, text: str) -> Any:
    match path.suffix.lower():
        case ".toml":
            return tomllib.loads(text)
        case ".json":
            return json.loads(text)
        case ".yaml" | ".yml":
            import yaml

            return yaml.safe_load(text) or {}
    raise UsageError(f"{path}: a file of settings ends in .toml, .json, .yaml or .yml")


def read_environment(prefix: str, shape: Record) -> Layer:
    """The layer of the environment variables that begin with `prefix`: ``APP_DB__HOST`` is ``db/host``.

    Raises:
        UsageError: the prefix is empty.
        ConfigInvalid: a variable has no value that can be a field's.
    """
    if not isinstance(prefix, str) or not prefix:
        raise UsageError(f"env_prefix is what the names of the variables begin with, not {prefix!r}")
    texts: dict[str, str] = {}
    for name, text in os.environ.items():
        if name.startswith(prefix):
            path = _path(name.removeprefix(prefix).split("__"), shape)
            if path is not None:
                texts[path] = text
    # Variables of no field are somebody else's: the environment is shared.
    return Layer("environment", decode_all(texts, shape, lambda _: None))


def _path(words: list[str], shape: Record) -> str | None:
    """The path of a field from words of any case."""
    path: list[str] = []
    for word in words:
        node = find(shape, "/".join(path)) if path else shape
        known = node.fields if isinstance(node, Record) and node is not OPEN else {}
        path.append(next((name for name in known if name.lower() == word.lower()), word.lower()))
    return "/".join(path) if all(path) else None
