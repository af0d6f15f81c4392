"""coord register, coord services: announce an instance of a service, and see who is there."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Annotated, Any

import typer

from coord.cli import output
from coord.cli.options import options_of


def add(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(register)
    app.command()(services)


def register(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Name of the service.", show_default=False)],
    address: Annotated[str, typer.Argument(help="Where this instance is reached.", show_default=False)],
    meta: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, as often as needed.")] = None,
    weight: Annotated[int, typer.Option(min=0, help="Share of the load it takes.")] = 1,
    zone: Annotated[str, typer.Option(help="Where it runs.")] = "",
    ttl: Annotated[float, typer.Option(help="Seconds after which it vanishes if this process dies.")] = 10.0,
) -> None:
    """Keep an instance registered until interrupted.

    It is taken out then.
    """
    metadata = dict(_pair(word) for word in meta or [])
    options = options_of(context)
    ended = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with (
        options.connect() as client,
        client.register(service, address, metadata=metadata, weight=weight, zone=zone, ttl=ttl) as registration,
    ):
        output.line(f"registered {registration.instance.id} as {service} at {address}")
        ended.wait()


def services(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Name of a service; all of them without.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and show every change.")] = False,
) -> None:
    """List the registered instances."""
    options = options_of(context)
    with options.connect() as client:
        if follow:
            _follow(options.json, client.discover(service))
            return
        found = client.instances(service)
    if options.json:
        output.as_json({"instances": [_document(each) for each in found]})
        return
    output.table(
        ("SERVICE", "ID", "ADDRESS", "ZONE", "WEIGHT", "METADATA"),
        (
            (
                each.service,
                each.id,
                each.address,
                each.zone,
                str(each.weight),
                " ".join(f"{name}={value}" for name, value in each.metadata.items()),
            )
            for each in found
        ),
    )


def _follow(as_json: bool, view: Any) -> None:
    for change in view.changes():
        found = change.instance
        if as_json:
            output.as_json({"change": change.kind.value, "instance": _document(found)})
        else:
            output.line(f"{change.kind.value:8} {found.service} {found.id} {found.address}")


def _document(instance: Any) -> dict[str, Any]:
    return {
        "service": instance.service,
        "id": instance.id,
        "address": instance.address,
        "zone": instance.zone,
        "weight": instance.weight,
        "metadata": dict(instance.metadata),
    }


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{word!r} is not NAME=VALUE", param_hint="--meta")
    return name, value
