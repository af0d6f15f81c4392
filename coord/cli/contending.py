"""coord locks: who holds what, who waits for whom."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coord.cli import output
from coord.cli.options import options_of

if TYPE_CHECKING:
    from coord.recipes.locks.contender import Contender
    from coord.recipes.locks.graph import LockGraph, Wait


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(locks)


def locks(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="What the names begin with; all of them without.")] = "",
) -> None:
    """List who holds locks and who waits for whom, in circles too."""
    from coord.recipes.locks.graph import who

    options = options_of(context)
    with options.connect() as client:
        graph = client.lock_graph(prefix)
    if options.json:
        output.as_json(_document(graph))
        return
    output.table(
        ("NAME", "MODE", "STATE", "OWNER", "SINCE"),
        (
            (lock.name, each.mode, "holds" if each.holds else "waits", who(each), _since(each))
            for lock in graph.locks
            for each in lock.contenders
        ),
    )
    for cycle in graph.cycles():
        output.line(f"deadlock: {'; '.join(map(str, cycle))}")


def _since(contender: Contender) -> str:
    since = contender.owner.since
    return datetime.fromtimestamp(since).strftime("%Y-%m-%d %H:%M:%S") if since else ""


def _document(graph: LockGraph) -> dict[str, Any]:
    return {
        "revision": graph.revision,
        "locks": [
            {
                "name": lock.name,
                "kind": lock.kind,
                **({"permits": lock.permits} if lock.kind == "semaphore" else {}),
                "contenders": [_contender(each) for each in lock.contenders],
            }
            for lock in graph.locks
        ],
        "cycles": [[_wait(wait) for wait in cycle] for cycle in graph.cycles()],
    }


def _contender(each: Contender) -> dict[str, Any]:
    return {
        "mode": each.mode,
        "holds": each.holds,
        "host": each.owner.host,
        "pid": each.owner.pid,
        "task": each.owner.task,
        "since": each.owner.since,
        "key": output.b64(each.key),
        "create_revision": each.create_revision,
        "lease": each.lease,
    }


def _wait(wait: Wait) -> dict[str, Any]:
    from coord.recipes.locks.graph import who

    return {"name": wait.name, "waiter": who(wait.waiter), "for": sorted({who(each) for each in wait.blockers})}
