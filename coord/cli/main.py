"""The `coord` command: its options, its commands, and how it ends.

Exit codes: 0 done, 1 the request failed, 2 the command line is wrong, 75 not won in time, 76 lost while held, 130
interrupted; `coord lock NAME -- cmd` returns the code of the command.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from coord.cli import config, contending, electing, kv, local, locking, output, services, status
from coord.cli.options import GLOBAL_WITH_VALUE, Format, Options
from coord.cli.output import problem, told
from coord.errors import CoordError, LocalServerNotice, UsageError

app = typer.Typer(
    name="coord",
    help="Locks, service discovery and configuration on etcd, with a server of its own when there is none.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOCK_WORDS = 2  # "lock" and the name; what follows is the command

for group in (kv, locking, contending, electing, services, status):
    group.add(app)
app.add_typer(local.app, name="local")
app.add_typer(config.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        output.line(f"coord {status.installed('coord')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    endpoints: Annotated[
        str | None,
        typer.Option(
            envvar=["COORD_ENDPOINTS", "ETCDCTL_ENDPOINTS"],
            help="Where the cluster is, such as http://127.0.0.1:2379; without it the local server is used.",
        ),
    ] = None,
    write_out: Annotated[Format, typer.Option("-w", "--write-out", help="Output form.")] = Format.SIMPLE,
    namespace: Annotated[str, typer.Option(help="Prefix put before every key.")] = "",
    command_timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 5.0,
    user: Annotated[str | None, typer.Option(envvar="ETCDCTL_USER", help="NAME or NAME:PASSWORD.")] = None,
    password: Annotated[str | None, typer.Option(envvar="ETCDCTL_PASSWORD", help="Password of the user.")] = None,
    cacert: Annotated[str | None, typer.Option(envvar="ETCDCTL_CACERT", help="CA certificates, a PEM file.")] = None,
    cert: Annotated[str | None, typer.Option(envvar="ETCDCTL_CERT", help="Client certificate, a PEM file.")] = None,
    key: Annotated[str | None, typer.Option(envvar="ETCDCTL_KEY", help="Key of the certificate, a PEM file.")] = None,
    version: Annotated[  # does its work while it is parsed, so that no command is asked for
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print coord's version and exit.")
    ] = False,
) -> None:
    """Remember what holds for every command."""
    name, _, secret = (user or "").partition(":")
    context.obj = Options(
        endpoints=endpoints,
        output=write_out,
        namespace=namespace,
        timeout=command_timeout,
        user=name or None,
        password=password if password is not None else (secret or None),
        cacert=cacert,
        cert=cert,
        key=key,
    )


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
def server(context: typer.Context) -> None:
    """Run the bundled server, with etcd's flags.

    Environment and configuration file are etcd's too; `coord server --help` lists the flags.
    """
    raise typer.Exit(_serve(context.args))


def _serve(words: Sequence[str]) -> int:
    from coord.server.__main__ import run

    return run(words)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the `coord` command."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["server"]:
        sys.exit(_serve(words[1:]))
    warnings.showwarning = _show_warning
    warnings.simplefilter("once", LocalServerNotice)
    sys.exit(_run(hoist(words)))


def _run(words: list[str]) -> int:
    try:
        app(args=words)
    except CoordError as error:
        problem(f"Error: {told(error)}")
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # The reader of our output went away (head, say): nothing to tell, and nobody to tell it to.
        sys.stderr.close()
    return 0


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Warnings are for people here: without file and line, and that the local server is used only if one looks."""
    if not issubclass(category, LocalServerNotice) or sys.stderr.isatty():
        problem(f"coord: {message}")


def hoist(words: Sequence[str]) -> list[str]:
    """The words with options moved before what they belong to, so that they may stand anywhere, as in etcdctl.

    Global options come to the front, those of ``coord lock`` before its name. The command that it runs begins after
    ``--``, or with the first word after the name, and stays as it is: its ``--user`` is not ours.
    """
    front: list[str] = []
    own: list[str] = []
    rest: list[str] = []
    plain = 0
    position = 0
    while position < len(words):
        word = words[position]
        locks = rest[:1] == ["lock"]
        if word == "--" or (locks and plain == _LOCK_WORDS and not word.startswith("-")):
            break
        position += 1
        name, equals, _ = word.partition("=")
        taken = [word]
        if (
            not equals
            and position < len(words)
            and (name in GLOBAL_WITH_VALUE or (locks and name in locking.WITH_VALUE))
        ):
            taken.append(words[position])
            position += 1
        if name in GLOBAL_WITH_VALUE:
            front += taken
        elif locks and name in locking.OPTIONS:
            own += taken
        else:
            plain += not word.startswith("-")
            rest += taken
    return [*front, *rest[:1], *own, *rest[1:], *words[position:]]


if __name__ == "__main__":
    main()
