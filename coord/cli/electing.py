"""coord elect: lead an election, or follow who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from coord.cli import output
from coord.cli.locking import LOST, NOT_WON, stopping_as_exit
from coord.cli.options import Options, options_of
from coord.errors import LeadershipLost, LockTimeout
from coord.model import KeyValue

if TYPE_CHECKING:
    from coord.recipes.elections.candidate import Leader
    from coord.recipes.elections.election import Election


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(elect)


def elect(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What is led.", show_default=False)],
    value: Annotated[str | None, typer.Argument(help="What the candidate says.")] = None,
    listen: Annotated[bool, typer.Option("-l", "--listen", help="Follow who leads, and do not stand.")] = False,
    ttl: Annotated[float, typer.Option(help="Seconds after which a leader that died leads no more.")] = 10.0,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for leadership, 0 not to wait; for ever without.")
    ] = None,
) -> None:
    """Lead an election until interrupted, or follow it.

    Prints key and value of the leader, as etcdctl elect does. Exit code 75: did not lead in time; 76: lost leadership.
    """
    if listen and value is not None:
        raise typer.BadParameter("--listen follows who leads; it takes no value")
    options = options_of(context)
    with stopping_as_exit(), options.connect() as client:
        client.get(name)  # to wait for leadership is one thing, to wait for a server that is not there another
        election = client.election(name, ttl=ttl)
        if listen:
            _follow(options, election)
        raise typer.Exit(_lead(options, election, value, timeout))


def _follow(options: Options, election: Election) -> None:
    for leader in election.observe():
        _show(options, leader)


def _lead(options: Options, election: Election, value: str | None, timeout: float | None) -> int:
    try:
        with election.lead(value, timeout=timeout) as guard:
            _show(options, election.leader())
            guard.lost.wait()
    except LockTimeout as late:
        output.problem(f"coord elect: {output.told(late)}")
        return NOT_WON
    except LeadershipLost as lost:
        output.problem(f"coord elect: {lost}")
        return LOST
    return 0


def _show(options: Options, leader: Leader | None) -> None:
    found = (
        [] if leader is None else [KeyValue(leader.key, leader.value, leader.term, leader.revision, 0, leader.lease)]
    )
    if options.json:
        output.as_json({"kvs": [output.key_value(each) for each in found], "count": len(found)})
        return
    for each in found:
        output.pair(each)
