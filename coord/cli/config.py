"""coord config: look at a configuration and its history, change it, bring back what was.

The command knows texts and no model: what programs refuse to show is told by their logs.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from coord.cli import output
from coord.cli.options import options_of
from coord.program import run_blocking
from coord.recipes.common.client import client_deadline
from coord.recipes.config.author import stamp
from coord.recipes.config.base import KEEP
from coord.recipes.config.layers import Layers
from coord.recipes.config.shape import OPEN
from coord.recipes.config.stored import changed_fields, place_of
from coord.recipes.config.updating import Snapshot, Update, Written, entries, entry_of, read

app = typer.Typer(help="Look at a configuration and its history, and change it.", no_args_is_help=True)

Prefix = Annotated[str, typer.Argument(help="What the keys of its fields begin with.", show_default=False)]
Revision = Annotated[int, typer.Argument(help="A revision of its history.", show_default=False)]
Keep = Annotated[int, typer.Option(min=1, help="Entries that its history keeps; what its programs say.")]
Author = Annotated[str | None, typer.Option(help="Who changes it; the user and the machine unless it is given.")]


@app.command()
def get(
    context: typer.Context,
    prefix: Prefix,
    field: Annotated[str | None, typer.Argument(help="The path of a field; all of them without.")] = None,
) -> None:
    """Show the stored fields, or the value of one. Exit code 1 if that one is not stored."""
    options = options_of(context)
    with options.connect() as client:
        found = run_blocking(read(client.port, place_of(prefix), client_deadline(client, options.timeout)))
    if field is not None and field not in found.texts:
        output.problem(f"coord config: {field!r} is not stored below {prefix}")
        raise typer.Exit(1)
    if options.json:
        chosen = found.texts if field is None else {field: found.texts[field]}
        output.as_json({"revision": found.revision, "fields": dict(chosen)})
    elif field is not None:
        output.line(_shown(found.texts[field]))
    else:
        _fields(found.texts)


@app.command("set")
def change(
    context: typer.Context,
    prefix: Prefix,
    fields: Annotated[list[str] | None, typer.Argument(help="FIELD=VALUE, the value as it is stored.")] = None,
    unset: Annotated[list[str] | None, typer.Option(help="Take a field out, as often as needed.")] = None,
    keep: Keep = KEEP,
    author: Author = None,
) -> None:
    """Change several fields at once, whatever is there."""
    given = dict(_pair(word) for word in fields or [])
    gone = set(unset or [])
    if not given and not gone:
        raise typer.BadParameter("nothing is to be changed: give FIELD=VALUE or --unset FIELD")

    def decide(found: Snapshot) -> Mapping[str, str]:
        return {path: text for path, text in {**found.texts, **given}.items() if path not in gone}

    _change(context, prefix, decide, keep, author)


@app.command()
def history(context: typer.Context, prefix: Prefix) -> None:
    """List what it was, oldest first: who changed what, and when."""
    options = options_of(context)
    with options.connect() as client:
        found = run_blocking(entries(client.port, place_of(prefix), client_deadline(client, options.timeout)))
    if options.json:
        output.as_json(
            {
                "history": [
                    {
                        "revision": each.revision,
                        "time": each.time,
                        "author": each.author,
                        "changed": list(each.changed),
                        "fields": dict(each.texts),
                    }
                    for each in found
                ]
            }
        )
        return
    output.table(
        ("REVISION", "TIME", "AUTHOR", "CHANGED"),
        (
            (
                str(each.revision),
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.time)),
                each.author or "(others)",
                " ".join(each.changed),
            )
            for each in found
        ),
    )


@app.command()
def diff(
    context: typer.Context,
    prefix: Prefix,
    before: Revision,
    after: Annotated[int | None, typer.Argument(help="Another revision; now without.")] = None,
) -> None:
    """Show the fields that differ between two revisions."""
    options = options_of(context)
    place = place_of(prefix)
    with options.connect() as client:
        deadline = client_deadline(client, options.timeout)
        known = run_blocking(entries(client.port, place, deadline))
        old = entry_of(known, before).texts
        new = run_blocking(read(client.port, place, deadline)).texts if after is None else entry_of(known, after).texts
    _differences(options.json, old, new)


@app.command()
def rollback(
    context: typer.Context, prefix: Prefix, revision: Revision, keep: Keep = KEEP, author: Author = None
) -> None:
    """Make it what it was at a revision of its history; a change like any other."""
    options = options_of(context)
    with options.connect() as client:
        known = run_blocking(entries(client.port, place_of(prefix), client_deadline(client, options.timeout)))
    goal = entry_of(known, revision).texts
    _change(context, prefix, lambda _: goal, keep, author)


def _change(
    context: typer.Context, prefix: str, decide: Callable[[Snapshot], Mapping[str, str]], keep: int, author: str | None
) -> None:
    options = options_of(context)
    whole = Layers(dict, OPEN, (), lambda _: None)

    def checked(found: Snapshot) -> Mapping[str, str]:
        texts = decide(found)
        whole.build(texts)
        return texts

    who = author or f"{getpass.getuser()} on {os.uname().nodename}"
    with options.connect() as client:
        deadline = client_deadline(client, options.timeout)
        update = Update(client.port, place_of(prefix), stamp(who), keep, deadline)
        written: Written = run_blocking(update.run(checked))
    if options.json:
        output.as_json({"revision": written.revision, "changed": list(changed_fields(written.before, written.after))})
    else:
        _differences(False, written.before, written.after)
        output.line(f"revision {written.revision}")


def _fields(texts: Mapping[str, str]) -> None:
    for path in sorted(texts):
        output.line(f"{path}={_shown(texts[path])}")


def _differences(as_json: bool, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    fields = changed_fields(old, new)
    if as_json:
        found: list[dict[str, Any]] = [
            {"field": path, "before": old.get(path), "after": new.get(path)} for path in fields
        ]
        output.as_json({"differences": found})
        return
    for path in fields:
        if path in old:
            output.line(f"-{path}={_shown(old[path])}")
        if path in new:
            output.line(f"+{path}={_shown(new[path])}")


def _shown(text: str) -> str:
    """Bytes that are no UTF-8 as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not all(name.split("/")):
        raise typer.BadParameter(f"{word!r} is not FIELD=VALUE")
    return name, value
