"""Puts and gets through the wire: one at a time, and 1024 at once, by a native client (h2load).

The echo server answers without doing anything: what grpcio's asyncio server allows at the most. The echo that writes
waits for a thread that syncs each group of requests: what it allows a durable server at the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from google.protobuf.message import Message

from benchmarks import load, places
from benchmarks.report import Line, alternate, ratios

NAME = "transport"


def run(rounds: int) -> Iterator[Line]:
    """Lines for put and get, each alone and in a crowd.

    Raises:
        ServerMissing: etcd 3.4 is not installed.
        RuntimeError: h2load is not installed, or a request failed.
    """
    if not load.available():
        raise RuntimeError("h2load is missing: apt-get install nghttp2-client")
    with places.pair() as servers, places.echo() as echo, places.echo(durable=True) as durable:
        ports = {name: places.number(server) for name, server in servers.items()} | {"echo": echo}
        for port in (*ports.values(), durable):
            load.rate(port, places.PUT, places.put_request(), load.WARM)
        for shape in (load.ONE, load.MANY):
            yield from _puts(shape, ports | {"durable echo": durable}, rounds)
        for shape in (load.ONE, load.MANY):
            measured = _measure(places.GET, places.get_request(), shape, ports, rounds)
            coord, etcd, bare = measured[places.BUNDLED], measured[places.ETCD], measured["echo"]
            note = f"echo : etcd is {_median(bare, etcd):.2f}"
            yield Line(f"get {shape.name}, coord : etcd 3.4", ratios(coord, etcd), note=note)
            yield Line(f"get {shape.name}, coord : bare grpcio echo", ratios(coord, bare))


def _puts(shape: load.Shape, ports: dict[str, int], rounds: int) -> Iterator[Line]:
    measured = _measure(places.PUT, places.put_request(), shape, ports, rounds)
    coord, etcd, bare = measured[places.BUNDLED], measured[places.ETCD], measured["echo"]
    durable = measured["durable echo"]
    yield Line(
        f"put {shape.name}, coord : etcd 3.4",
        ratios(coord, etcd),
        at_least=0.5 if shape is load.ONE else None,
        note=f"echo : etcd is {_median(bare, etcd):.2f}, echo that writes : etcd {_median(durable, etcd):.2f}",
    )
    yield Line(
        f"put {shape.name}, coord : bare grpcio echo",
        ratios(coord, bare),
        at_least=0.6 if shape is load.MANY else None,
        note=f"echo that writes : echo is {_median(durable, bare):.2f}",
    )


def _measure(
    path: str, request: Message, shape: load.Shape, ports: dict[str, int], rounds: int
) -> dict[str, list[float]]:
    subjects: dict[str, Callable[[], float]] = {
        name: partial(load.rate, port, path, request, shape) for name, port in ports.items()
    }
    return alternate(subjects, rounds)


def _median(upper: list[float], lower: list[float]) -> float:
    return Line("", ratios(upper, lower)).ratio
