"""A lock cycle (acquire and release, nobody else wants it), beside the two durable puts it cannot be cheaper than.

The bound is the cycle's own two messages, sent by bare grpcio stubs: what grpcio and the server allow at the most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import coord
from benchmarks import places
from benchmarks.report import Line, alternate, ratios
from coord.client import calls
from coord.keys import prefix_end
from coord.ops import Delete, Get, Order, Put, Target, Txn, missing
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
                bare = BareCycles(channel)
                subjects: dict[str, Callable[[], float]] = {
                    "lock": partial(lock_cycles, client),
                    "puts": partial(put_pairs, put),
                    "bare": bare.run,
                }
                for warm in subjects.values():
                    warm()
                measured = alternate(subjects, rounds)
                bound = Line("", ratios(measured["bare"], measured["puts"])).ratio
                yield Line(
                    f"lock cycle : two bare grpcio puts, on {kind}",
                    ratios(measured["lock"], measured["puts"]),
                    at_most=1.25,
                    note=f"its messages sent bare : puts is {bound:.2f}",
                )


def lock_cycles(client: coord.Client, cycles: int = CYCLES) -> float:
    """Seconds a cycle."""
    lock = client.lock("/bench/lock")
    started = time.perf_counter()
    for _ in range(cycles):
        with lock:
            pass
    return (time.perf_counter() - started) / cycles


class BareCycles:
    """The messages that `coord.lock` sends for a cycle, each with a key of its own, and nothing else."""

    def __init__(self, channel: Any) -> None:
        self._txn = channel.unary_unary(
            "/etcdserverpb.KV/Txn", rpc_pb2.TxnRequest.SerializeToString, rpc_pb2.TxnResponse.FromString
        )
        self._delete = channel.unary_unary(
            "/etcdserverpb.KV/DeleteRange",
            rpc_pb2.DeleteRangeRequest.SerializeToString,
            rpc_pb2.DeleteRangeResponse.FromString,
        )
        grant = channel.unary_unary(
            "/etcdserverpb.Lease/LeaseGrant",
            rpc_pb2.LeaseGrantRequest.SerializeToString,
            rpc_pb2.LeaseGrantResponse.FromString,
        )
        self._lease: int = grant(rpc_pb2.LeaseGrantRequest(TTL=600)).ID
        self._used = 0

    def run(self, cycles: int = CYCLES) -> float:
        """Seconds a cycle; the messages are made before."""
        made = [self._messages() for _ in range(cycles)]
        started = time.perf_counter()
        for claim, release in made:
            self._txn(claim)
            self._delete(release)
        return (time.perf_counter() - started) / cycles

    def _messages(self) -> tuple[Any, Any]:
        self._used += 1
        prefix = b"/bench/bare/"
        key = b"%s%x-%x" % (prefix, self._lease, self._used)
        front = Get(prefix, prefix_end(prefix), limit=1, order=Order.ASCEND, target=Target.CREATE, keys_only=True)
        owner = b"x" * 96  # as long as an owner usually is
        claim = Txn((missing(key),), (Put(key, owner, self._lease), front), (Get(key, keys_only=True), front))
        return calls.txn(claim).request, calls.delete(Delete(key)).request


def put_pairs(put: Callable[[rpc_pb2.PutRequest], object], pairs: int = CYCLES) -> float:
    """Seconds for two puts, one after the other."""
    request = rpc_pb2.PutRequest(key=places.KEY, value=b"{}")
    started = time.perf_counter()
    for _ in range(pairs):
        put(request)
        put(request)
    return (time.perf_counter() - started) / pairs
