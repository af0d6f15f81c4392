"""coord status, coord version."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import typer

from coord.cli import output
from coord.cli.options import options_of
from coord.errors import CoordError
from coord.model import ServerStatus


def add(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(status)
    app.command()(version)


def status(context: typer.Context) -> None:
    """Ask every endpoint how it is. Exit code 1 if one does not answer or has an alarm."""
    options = options_of(context)
    answers: list[tuple[str, ServerStatus | CoordError]] = []
    with options.connect() as client:
        for endpoint in client.endpoints:
            try:
                answers.append((endpoint, client.status(endpoint)))
            except CoordError as error:
                answers.append((endpoint, error))
    if options.json:
        output.as_json({"endpoints": [_document(endpoint, answer) for endpoint, answer in answers]})
    else:
        output.table(
            ("ENDPOINT", "HEALTH", "VERSION", "DB SIZE", "LEADER", "TERM", "INDEX", "REVISION", "ERRORS"),
            (_row(endpoint, answer) for endpoint, answer in answers),
        )
    healthy = all(isinstance(answer, ServerStatus) and not answer.errors for _, answer in answers)
    raise typer.Exit(0 if healthy else 1)


def version(context: typer.Context) -> None:
    """Print the versions of coord and of what it stands on."""
    found = {"coord": installed("coord"), "python": platform.python_version()}
    found |= {name: installed(name) for name in ("grpcio", "protobuf", "lmdb")}
    if options_of(context).json:
        output.as_json(found)
        return
    for name, number in found.items():
        output.line(f"{name} {number}")


def installed(name: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"


def _row(endpoint: str, answer: ServerStatus | CoordError) -> tuple[str, ...]:
    if isinstance(answer, CoordError):
        return (endpoint, "no", "", "", "", "", "", "", str(answer))
    leads = "this" if answer.leader == answer.header.member_id else (f"{answer.leader:x}" if answer.leader else "none")
    return (
        endpoint,
        "no" if answer.errors else "yes",
        answer.version,
        f"{answer.db_size / 1e6:.1f} MB",
        leads,
        str(answer.raft_term),
        str(answer.raft_applied_index),
        str(answer.header.revision),
        "; ".join(answer.errors),
    )


def _document(endpoint: str, answer: ServerStatus | CoordError) -> dict[str, Any]:
    if isinstance(answer, CoordError):
        return {"Endpoint": endpoint, "error": str(answer)}
    return {
        "Endpoint": endpoint,
        "Status": {
            "header": output.header(answer.header),
            "version": answer.version,
            "dbSize": answer.db_size,
            "leader": answer.leader,
            "raftIndex": answer.raft_index,
            "raftTerm": answer.raft_term,
            "raftAppliedIndex": answer.raft_applied_index,
            "dbSizeInUse": answer.db_size_in_use,
            "errors": list(answer.errors),
        },
    }
