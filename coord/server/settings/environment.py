"""ETCD_* environment variables: a flag's name in capitals with underscores.

Source: etcd pkg/flags/flag.go SetFlagsFromEnv.
"""

from __future__ import annotations

from collections.abc import Mapping

from coord.server.settings.config import ConfigError
from coord.server.settings.flag_table import EXPERIMENTAL, FLAGS

_PREFIX = "ETCD_"


def variable(flag: str) -> str:
    """Name of the variable that stands for a flag."""
    return _PREFIX + flag.upper().replace("-", "_")


def from_environment(given: Mapping[str, str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Texts by flag name for flags that are not on the command line, and warnings.

    Raises:
        ConfigError: a variable says what a flag says already; one of the two would be ignored without a word.
    """
    names = {variable(flag): flag for flag in FLAGS}
    names |= {variable(EXPERIMENTAL + flag): flag for flag in FLAGS}
    found: dict[str, str] = {}
    warnings: list[str] = []
    for key in sorted(environ):
        if not key.startswith(_PREFIX):
            continue
        flag = names.get(key)
        if flag is None and key != variable("config-file"):
            warnings.append(f'unrecognized environment variable "{key}={environ[key]}"')
        elif flag is not None and flag in given:
            raise ConfigError(
                f'conflicting environment variable "{key}" is shadowed by corresponding command-line flag '
                "(either unset environment variable or disable flag)"
            )
        elif flag is not None and environ[key]:
            found[flag] = environ[key]
    return found, warnings
