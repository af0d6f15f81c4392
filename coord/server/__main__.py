"""``python -m coord.server``: etcd's command line.

Exit codes: 0 for --version and --help, 2 for flags that cannot be read, 1 for settings that cannot work and for a
failed start; a signal ends the process by that signal after an orderly stop.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence

from coord.server import logs
from coord.server.settings import config_file, environment, flags
from coord.server.settings.config import ConfigError, ServerConfig
from coord.server.version import ETCD_VERSION, coord_version

_CONFIG_FILE = "config-file"


def run(argv: Sequence[str] | None = None) -> int:
    """Run a server as the command line and environment say; returns the exit code.

    Signals end the process itself, see `coord.server.process.serve`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help", "-help"} & set(words):
        sys.stdout.write(flags.usage())
        return 0
    if {"--version", "-version"} & set(words):
        sys.stdout.write(_versions())
        return 0
    try:
        config = configure(words, os.environ)
    except flags.FlagError as error:
        # Not all of the help: the hundred lines of it would push the reason off the screen.
        sys.stderr.write(f"{error}\nUsage: coord server [flags]; coord server --help lists them\n")
        return 2
    except ConfigError as error:
        handlers = logs.configure("info", "json", ("default",))
        logs.logger(logs.ROOT).error("failed to verify flags", error=str(error))
        logs.release(handlers)
        return 1
    # Late, so that --version and mistakes are answered without loading gRPC.
    from coord.server.process import serve

    return serve(config)


def configure(words: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """The configuration that a command line and an environment describe.

    A configuration file replaces both, as in etcd.

    Raises:
        FlagError: the command line cannot be read.
        ConfigError: the settings cannot work.
    """
    given, rest = flags.split(words)
    if rest:
        raise ConfigError(f"'{rest[0]}' is not a valid flag")
    path = given.pop(_CONFIG_FILE, "") or environ.get(environment.variable(_CONFIG_FILE), "")
    if path:
        return flags.build(config_file.from_file(path), ["loaded settings from a file; other flags are ignored"])
    found, warnings = environment.from_environment(given, environ)
    return flags.build({**found, **given}, warnings)


def _versions() -> str:
    return (
        f"etcd Version: {ETCD_VERSION}\n"
        f"coord Version: {coord_version()}\n"
        f"Python Version: {platform.python_version()}\n"
        f"OS/Arch: {platform.system().lower()}/{platform.machine()}\n"
    )


if __name__ == "__main__":
    sys.exit(run())
