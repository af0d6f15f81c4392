"""Puts and gets through the wire: one at a time, and 1024 at once, by a native client (h2load).

The echo server answers without doing anything: what grpcio's asyncio server allows at the most.
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
    with places.pair() as servers, places.echo() as echo:
        ports = {name: places.number(server) for name, server in servers.items()} | {"echo": echo}
        for port in ports.values():
            load.rate(port, places.PUT, places.put_request(), load.WARM)
        for shape in (load.ONE, load.MANY):
            yield from _lines("put", places.PUT, places.put_request(), shape, ports, rounds)
        for shape in (load.ONE, load.MANY):
            yield from _lines("get", places.GET, places.get_request(), shape, ports, rounds)


def _lines(
    verb: str, path: str, request: Message, shape: load.Shape, ports: dict[str, int], rounds: int
) -> Iterator[Line]:
    subjects: dict[str, Callable[[], float]] = {
        name: partial(load.rate, port, path, request, shape) for name, port in ports.items()
    }
    measured = alternate(subjects, rounds)
    coord, etcd, bare = measured[places.BUNDLED], measured[places.ETCD], measured["echo"]
    alone = verb == "put" and shape is load.ONE
    crowd = verb == "put" and shape is load.MANY
    bound = Line("", ratios(bare, etcd)).ratio
    yield Line(
        f"{verb} {shape.name}, coord : etcd 3.4",
        ratios(coord, etcd),
        at_least=0.5 if alone else None,
        note=f"echo : etcd is {bound:.2f}",
    )
    yield Line(f"{verb} {shape.name}, coord : bare grpcio echo", ratios(coord, bare), at_least=0.6 if crowd else None)
