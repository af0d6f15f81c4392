"""A lock cycle (acquire and release, nobody else wants it), beside the two durable puts it cannot be cheaper than."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import coord
from benchmarks import places
from benchmarks.report import Line, alternate, ratios
from coord.wire import rpc_pb2

NAME = "lock"
CYCLES = 400


def run(rounds: int) -> Iterator[Line]:
    """Lines for the bundled server and etcd 3.4.

    Raises:
        ServerMissing: etcd 3.4 is not installed.
    """
    with places.pair() as servers:
        for kind, server in servers.items():
            with coord.connect(server.endpoint) as client, places.channel(server.target) as channel:
                put = channel.unary_unary(
                    places.PUT, rpc_pb2.PutRequest.SerializeToString, rpc_pb2.PutResponse.FromString
                )
                subjects = {"lock": partial(lock_cycles, client), "puts": partial(put_pairs, put)}
                for warm in subjects.values():
                    warm()
                measured = alternate(subjects, rounds)
                yield Line(
                    f"lock cycle : two bare grpcio puts, on {kind}",
                    ratios(measured["lock"], measured["puts"]),
                    at_most=1.25,
                )


def lock_cycles(client: coord.Client, cycles: int = CYCLES) -> float:
    """Seconds a cycle."""
    lock = client.lock("/bench/lock")
    started = time.perf_counter()
    for _ in range(cycles):
        with lock:
            pass
    return (time.perf_counter() - started) / cycles


def put_pairs(put: Callable[[rpc_pb2.PutRequest], object], pairs: int = CYCLES) -> float:
    """Seconds for two puts, one after the other."""
    request = rpc_pb2.PutRequest(key=places.KEY, value=b"{}")
    started = time.perf_counter()
    for _ in range(pairs):
        put(request)
        put(request)
    return (time.perf_counter() - started) / pairs
