"""coord local: look at the per-user local server, or stop it."""

from __future__ import annotations

import time

import typer

from coord.cli import output
from coord.cli.options import options_of
from coord.local import LocalServer

app = typer.Typer(help="The per-user local server.", no_args_is_help=True)


@app.command()
def status(context: typer.Context) -> None:
    """Show where it lives and whether it runs; starts nothing. Exit code 1 if it does not run."""
    found = LocalServer().status()
    if options_of(context).json:
        output.as_json(
            {
                "directory": str(found.directory),
                "running": found.running,
                "pid": found.pid if found.running else 0,
                "version": found.version,
                "started": found.started,
            }
        )
    else:
        output.line(f"directory  {found.directory}")
        output.line(f"running    {'yes' if found.running else 'no'}")
        if found.running:
            output.line(f"process    {found.pid}")
            output.line(f"version    {found.version}")
            output.line(f"since      {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.started))}")
    raise typer.Exit(0 if found.running else 1)


@app.command()
def stop(timeout: float = typer.Option(10.0, help="Seconds to wait for its end.")) -> None:
    """Stop it; its data stays, and the next use starts it again."""
    output.line("stopped" if LocalServer().stop(timeout) else "it was not running")
