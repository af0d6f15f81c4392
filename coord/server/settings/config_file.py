"""``--config-file``: YAML (or JSON) with the flags' names as keys.

Source: etcd server/embed/config.go configYAML.
"""

from __future__ import annotations

from typing import Any

import yaml

from coord.server.settings.config import ConfigError
from coord.server.settings.flag_table import EXPERIMENTAL, FLAGS, Kind

_SECURITY = {
    "client-transport-security": {
        "cert-file": "cert-file",
        "key-file": "key-file",
        "client-cert-file": "client-cert-file",
        "client-key-file": "client-key-file",
        "client-cert-auth": "client-cert-auth",
        "trusted-ca-file": "trusted-ca-file",
        "auto-tls": "auto-tls",
    },
    "peer-transport-security": {
        "cert-file": "peer-cert-file",
        "key-file": "peer-key-file",
        "client-cert-file": "peer-client-cert-file",
        "client-key-file": "peer-client-key-file",
        "client-cert-auth": "peer-client-cert-auth",
        "trusted-ca-file": "peer-trusted-ca-file",
        "auto-tls": "peer-auto-tls",
        "allowed-cn": "peer-cert-allowed-cn",
        "allowed-hostname": "peer-cert-allowed-hostname",
    },
}


def from_file(path: str) -> dict[str, str]:
    """Texts by flag name; keys that are no flag are ignored, as etcd does.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read --config-file {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config-file {path} is not a map of settings")
    found: dict[str, str] = {}
    for key, value in content.items():
        if key in _SECURITY:
            found |= _security(_SECURITY[key], value)
            continue
        name = key if key in FLAGS else str(key).removeprefix(EXPERIMENTAL)
        if name in FLAGS and value is not None:
            found[name] = _text(FLAGS[name].kind, value)
    return found


def _security(names: dict[str, str], values: Any) -> dict[str, str]:
    if not isinstance(values, dict):
        return {}
    return {names[key]: _text(Kind.TEXT, value) for key, value in values.items() if key in names and value is not None}


def _text(kind: Kind, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    if kind is Kind.DURATION and isinstance(value, int):
        # Go's YAML reads a duration as a whole number of nanoseconds.
        return f"{value}ns"
    return str(value)
