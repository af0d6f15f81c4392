"""What holds for every command: where the cluster is, who asks, how the answer is shown."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from coord.sync import Client

GLOBAL_WITH_VALUE = frozenset(
    (
        "--endpoints",
        "-w",
        "--write-out",
        "--namespace",
        "--command-timeout",
        "--user",
        "--password",
        "--cacert",
        "--cert",
        "--key",
    )
)
"""Global options that take a value; `coord.cli.main.hoist` lets them stand anywhere."""


class Format(enum.Enum):
    """How results are shown."""

    SIMPLE = "simple"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Options:
    """The global options of one command."""

    endpoints: str | None
    output: Format
    namespace: str
    timeout: float
    user: str | None
    password: str | None
    cacert: str | None
    cert: str | None
    key: str | None

    @property
    def json(self) -> bool:
        """JSON is wanted."""
        return self.output is Format.JSON

    def connect(self) -> Client:
        """A client as the options say.

        Raises:
            CoordError: the options contradict each other, or there is nothing to connect to.
        """
        import coord

        tls = None
        if self.cacert or self.cert or self.key:
            tls = coord.Tls(ca=self.cacert, cert=self.cert, key=self.key)
        return coord.connect(
            self.endpoints,
            namespace=self.namespace,
            timeout=self.timeout,
            user=self.user,
            password=self.password,
            tls=tls,
        )


def options_of(context: typer.Context) -> Options:
    """The global options of the command that runs.

    Raises:
        RuntimeError: the command runs outside of the `coord` command.
    """
    found = context.find_object(Options)
    if found is None:
        raise RuntimeError("the command was not started through coord.cli.main")
    return found
