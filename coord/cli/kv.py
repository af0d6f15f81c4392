"""get, put, del, watch: names, flags and output of etcdctl."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from coord import ops
from coord.cli import output
from coord.cli.options import options_of
from coord.model import Event, EventKind, RangeResult

Key = Annotated[str, typer.Argument(help="The key.", show_default=False)]
End = Annotated[str | None, typer.Argument(help="End of the range, not included.", show_default=False)]
Prefix = Annotated[bool, typer.Option("--prefix", help="Every key that begins with KEY.")]
FromKey = Annotated[bool, typer.Option("--from-key", help="Every key from KEY on.")]

_ORDERS = {"": ops.Order.NONE, "ASCEND": ops.Order.ASCEND, "DESCEND": ops.Order.DESCEND}
_TARGETS = {
    "": ops.Target.KEY,
    "KEY": ops.Target.KEY,
    "VERSION": ops.Target.VERSION,
    "CREATE": ops.Target.CREATE,
    "MODIFY": ops.Target.MOD,
    "VALUE": ops.Target.VALUE,
}


def add(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(get)
    app.command()(put)
    app.command("del")(delete)
    app.command()(watch)


def get(
    context: typer.Context,
    key: Key,
    range_end: End = None,
    prefix: Prefix = False,
    from_key: FromKey = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many keys, 0 for all.")] = 0,
    rev: Annotated[int, typer.Option(min=0, help="As of this revision, 0 for now.")] = 0,
    order: Annotated[str, typer.Option(help="ASCEND or DESCEND.")] = "",
    sort_by: Annotated[str, typer.Option(help="KEY, VERSION, CREATE, MODIFY or VALUE.")] = "",
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Leave the values out.")] = False,
    count_only: Annotated[bool, typer.Option("--count-only", help="Only count.")] = False,
    print_value_only: Annotated[bool, typer.Option("--print-value-only", help="Only the values.")] = False,
    consistency: Annotated[str, typer.Option(help="l (linearizable) or s (serializable).")] = "l",
) -> None:
    """Read a key or a range."""
    options = options_of(context)
    request = ops.Get(
        *ops.span(key, prefix=prefix, from_key=from_key, range_end=range_end),
        limit=limit,
        revision=rev,
        order=_choice(_ORDERS, order, "--order"),
        target=_choice(_TARGETS, sort_by, "--sort-by"),
        serializable=_choice({"l": False, "s": True}, consistency, "--consistency"),
        keys_only=keys_only,
        count_only=count_only,
    )
    with options.connect() as client:
        result = client.read(request)
    if options.json:
        output.as_json(_range_document(result))
    elif count_only:
        output.line(str(result.count))
    else:
        for item in result.items:
            if not print_value_only:
                output.raw(item.key)
            if not keys_only:
                output.raw(item.value)


def put(
    context: typer.Context,
    key: Key,
    value: Annotated[str | None, typer.Argument(help="The value; read from standard input if left out.")] = None,
    lease: Annotated[str, typer.Option(help="Attach to this lease (hexadecimal).")] = "0",
    prev_kv: Annotated[bool, typer.Option("--prev-kv", help="Show what was there before.")] = False,
    ignore_value: Annotated[bool, typer.Option("--ignore-value", help="Keep the value.")] = False,
    ignore_lease: Annotated[bool, typer.Option("--ignore-lease", help="Keep the lease.")] = False,
) -> None:
    """Write a key."""
    options = options_of(context)
    data = b"" if ignore_value else (sys.stdin.buffer.read() if value is None else value.encode())
    request = ops.Put(ops.span(key)[0], data, _lease(lease), prev_kv, ignore_value, ignore_lease)
    with options.connect() as client:
        result = client.write(request)
    if options.json:
        document: dict[str, Any] = {"header": output.header(result.header)}
        if result.previous is not None:
            document["prev_kv"] = output.key_value(result.previous)
        output.as_json(document)
        return
    output.line("OK")
    if result.previous is not None:
        output.pair(result.previous)


def delete(
    context: typer.Context,
    key: Key,
    range_end: End = None,
    prefix: Prefix = False,
    from_key: FromKey = False,
    prev_kv: Annotated[bool, typer.Option("--prev-kv", help="Show what was deleted.")] = False,
) -> None:
    """Delete a key or a range, and print how many keys went."""
    options = options_of(context)
    with options.connect() as client:
        result = client.delete(key, prefix=prefix, from_key=from_key, range_end=range_end, previous=prev_kv)
    if options.json:
        document: dict[str, Any] = {"header": output.header(result.header), "deleted": result.deleted}
        if result.previous:
            document["prev_kvs"] = [output.key_value(item) for item in result.previous]
        output.as_json(document)
        return
    output.line(str(result.deleted))
    for item in result.previous:
        output.pair(item)


def watch(
    context: typer.Context,
    key: Key,
    range_end: End = None,
    prefix: Prefix = False,
    rev: Annotated[int, typer.Option(min=0, help="From this revision on, 0 for now.")] = 0,
    prev_kv: Annotated[bool, typer.Option("--prev-kv", help="Show what was there before.")] = False,
) -> None:
    """Follow the changes of a key or a range.

    Goes on until it is interrupted, over restarts of the server.
    """
    options = options_of(context)
    with (
        options.connect() as client,
        client.watch(key, prefix=prefix, range_end=range_end, from_revision=rev, previous=prev_kv) as changes,
    ):
        for batch in changes:
            if options.json:
                output.as_json(output.watch_batch(batch))
                continue
            if batch.resync:
                output.problem("coord: events were compacted away; this is the state since then")
                for item in batch.items:
                    _show_event(Event(EventKind.PUT, item))
            for event in batch.events:
                _show_event(event)


def _show_event(event: Event) -> None:
    output.line(event.kind.name)
    if event.previous is not None:
        output.pair(event.previous)
    output.pair(event.item)


def _range_document(result: RangeResult) -> dict[str, Any]:
    document: dict[str, Any] = {"header": output.header(result.header)}
    if result.items:
        document["kvs"] = [output.key_value(item) for item in result.items]
    if result.more:
        document["more"] = True
    if result.count:
        document["count"] = result.count
    return document


def _choice(known: dict[str, Any], word: str, option: str) -> Any:
    found = known.get(word.upper(), known.get(word))
    if found is None:
        names = ", ".join(name for name in known if name)
        raise typer.BadParameter(f"{word!r} is not one of {names}", param_hint=option)
    return found


def _lease(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError as error:
        raise typer.BadParameter(f"bad lease id {word!r}: it is hexadecimal", param_hint="--lease") from error
