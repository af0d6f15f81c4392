"""The command line, etcd's way: one dash or two, ``--flag=value`` or ``--flag value``, booleans without a value.

Turns text into a `ServerConfig`; what exits how is decided by `coord.server.__main__`.

Source: Go's flag package, etcd server/etcdmain/config.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coord.server.settings.config import ConfigError, ServerConfig
from coord.server.settings.durations import parse_duration
from coord.server.settings.flag_table import EXPERIMENTAL, FLAGS, Flag, Kind, Support

Value = str | bool | int | float | tuple[str, ...]

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class FlagError(Exception):
    """The command line cannot be read: exit code 2, with the usage."""


def find(name: str) -> Flag | None:
    """The flag of this name, also under its name of older releases."""
    return FLAGS.get(name) or FLAGS.get(name.removeprefix(EXPERIMENTAL))


def read_value(flag: Flag, text: str) -> Value:
    """The value that `text` means for `flag`.

    Raises:
        ValueError: it means none.
    """
    if flag.choices and text not in flag.choices:
        raise ValueError(f"invalid value {text!r}, possible are {', '.join(flag.choices)}")
    match flag.kind:
        case Kind.TEXT:
            return text
        case Kind.LIST:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case Kind.BOOL:
            if text in _TRUE:
                return True
            if text in _FALSE:
                return False
            raise ValueError("parse error")
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.FLOAT:
            return float(text)
        case Kind.INT:
            return int(text, 0)
        case Kind.UINT:
            number = int(text, 0)
            if number < 0:
                raise ValueError("parse error")
            return number


def split(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Texts by flag name, and what stands after the flags.

    Raises:
        FlagError: a flag is unknown or lacks its value.
    """
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest[0]
        if len(word) < 2 or not word.startswith("-"):
            break
        rest.pop(0)
        if word == "--":
            break
        name, sign, text = word[2 if word.startswith("--") else 1 :].partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {word}")
        flag = find(name)
        if flag is None:
            raise FlagError(f"flag provided but not defined: -{name}")
        if not sign:
            if flag.kind is Kind.BOOL:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise FlagError(f"flag needs an argument: -{name}")
        given[flag.name] = _checked(flag, name, text)
    return given, rest


def _checked(flag: Flag, name: str, text: str) -> str:
    try:
        read_value(flag, text)
    except ValueError as error:
        raise FlagError(f'invalid value "{text}" for flag -{name}: {error}') from error
    return text


def build(given: Mapping[str, str], warnings: Sequence[str] = ()) -> ServerConfig:
    """A checked configuration from texts by flag name.

    Raises:
        ConfigError: it cannot work.
    """
    fields: dict[str, Any] = {}
    for name, text in given.items():
        flag = FLAGS[name]
        try:
            value = read_value(flag, text)
            refused = flag.support is Support.REFUSED and value != read_value(flag, flag.default)
        except ValueError as error:
            raise ConfigError(f'invalid value "{text}" for --{name}: {error}') from error
        if refused:
            raise ConfigError(_refusal(name, text))
        if flag.support is Support.SET:
            # A bool is an int to Python, but no scaled flag is one.
            fields[flag.field] = value * flag.scale if isinstance(value, float) and flag.scale != 1 else value
    if "listen-client-urls" in given and "advertise-client-urls" not in given:
        raise ConfigError("--advertise-client-urls is required when --listen-client-urls is set explicitly")
    config = ServerConfig(**fields)
    config.warnings.extend(warnings)
    _warn_of_defaults(config, given)
    config.validate()
    return config


def _refusal(name: str, text: str) -> str:
    if name == "auth-token" and not text.startswith("jwt"):
        return "auth: invalid auth options"
    return f"--{name}={text} asks for something this server does not have"


def _warn_of_defaults(config: ServerConfig, given: Mapping[str, str]) -> None:
    """Note the settings that are better chosen than left at their defaults."""
    if "name" not in given:
        config.warnings.append("it's recommended to set the 'name' flag; 'default' can cause conflicts in a cluster")
    if "data-dir" not in given:
        config.warnings.append(f"'data-dir' was empty; using default {config.directory}")


def usage() -> str:
    """The help text."""
    lines = ["Usage: coord server [flags]", "", "Flags:"]
    lines += [f"  --{flag.name} {flag.default!r}\n        {flag.text}" for flag in FLAGS.values() if flag.text]
    hidden = [flag.name for flag in FLAGS.values() if flag.support is Support.ACCEPTED and not flag.text]
    lines += ["", "Accepted for etcd's sake, without effect:", "  " + ", ".join(hidden)]
    return "\n".join(lines) + "\n"
