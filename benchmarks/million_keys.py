"""A million keys: seconds of a restart, memory, and the longest pause of the server's loop while it works on them.

python -m benchmarks.million_keys [--keys N]
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from benchmarks import places
from benchmarks.prober import Prober
from coord.wire import rpc_pb2
from tests import servers

NAME = "million"
KEYS = 1_000_000
RESTART_SECONDS = 30.0
RESIDENT_GIB = 1.2
_AT_ONCE = 128  # puts in a transaction, etcd's limit
_FLYING = 8
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def show(keys: int) -> int:
    """Measure and print; returns how many targets were missed."""
    with servers.running(places.BUNDLED) as server:
        started = time.monotonic()
        load(server.target, keys)
        print(f"{keys} keys were loaded in {time.monotonic() - started:.0f} s, RssAnon {resident(server.pid):.2f} GiB")
        server.stop()
        started = time.monotonic()
        server.start(wait=False)
        server.wait_ready(600)
        seconds = time.monotonic() - started
        missed = _show(f"restart with {keys} keys", seconds, RESTART_SECONDS, "s")
        missed += _show("RssAnon after the restart", resident(server.pid), RESIDENT_GIB, "GiB")
        prober = Prober(server.target)
        try:
            with grpc.insecure_channel(server.target, options=_UNLIMITED) as channel:
                for name in (look_around, fetch_everything, page_everything, compact):
                    prober.longest()
                    name(channel, keys)
                    print(f"  longest pause, {name.__doc__}: {prober.longest():.0f} ms", flush=True)
        finally:
            prober.close()
        missed += _show("RssAnon after all that", resident(server.pid), RESIDENT_GIB, "GiB")
    return missed


def _show(name: str, value: float, limit: float, unit: str) -> int:
    met = value < limit
    print(f"{name:<58}{value:7.2f} {unit:<16}< {limit:<7g}{'met' if met else 'missed'}", flush=True)
    return 0 if met else 1


def key(number: int) -> bytes:
    """24 bytes."""
    return b"/bench/millions/%08d" % number


def _puts(numbers: range, value: bytes) -> rpc_pb2.TxnRequest:
    return rpc_pb2.TxnRequest(
        success=[rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key(each), value=value)) for each in numbers]
    )


def load(target: str, keys: int, *, first: int = 0, value: bytes = places.VALUE) -> None:
    """Put them through the server, many in a transaction and some transactions at once."""
    with places.channel(target) as channel:
        send(channel, (range(at, min(at + _AT_ONCE, keys)) for at in range(first, keys, _AT_ONCE)), value)


def send(channel: Any, numbers: Iterator[range], value: bytes) -> None:
    txn = channel.unary_unary("/etcdserverpb.KV/Txn", rpc_pb2.TxnRequest.SerializeToString)
    flying: deque[Any] = deque()
    for each in numbers:
        if len(flying) == _FLYING:
            flying.popleft().result()
        flying.append(txn.future(_puts(each, value)))
    for call in flying:
        call.result()


def look_around(channel: Any, keys: int) -> None:
    """single reads for 3 s right after the start"""
    read = channel.unary_unary(places.GET, rpc_pb2.RangeRequest.SerializeToString)
    until = time.monotonic() + 3
    number = 0
    while time.monotonic() < until:
        read(rpc_pb2.RangeRequest(key=key(number * 7919 % keys)))
        number += 1


def fetch_everything(channel: Any, keys: int) -> None:
    """all keys and values in one answer"""
    read = channel.unary_unary(places.GET, rpc_pb2.RangeRequest.SerializeToString)
    answer = read(rpc_pb2.RangeRequest(key=b"/bench/", range_end=b"/bench0"))
    if len(answer) < keys * 280:
        raise RuntimeError("the range is incomplete")


def page_everything(channel: Any, keys: int) -> None:
    """all keys and values, 10,000 at a time"""
    read = channel.unary_unary(places.GET, rpc_pb2.RangeRequest.SerializeToString)
    for at in range(0, keys, 10_000):
        read(rpc_pb2.RangeRequest(key=key(at), range_end=key(min(at + 10_000, keys))))


def compact(channel: Any, keys: int) -> None:
    """a tenth of the keys overwritten, then a compaction with its physical part"""
    send(channel, (range(at, min(at + _AT_ONCE, keys)) for at in range(0, keys // 10, _AT_ONCE)), b"w" * 256)
    read = channel.unary_unary(places.GET, rpc_pb2.RangeRequest.SerializeToString, rpc_pb2.RangeResponse.FromString)
    revision = read(rpc_pb2.RangeRequest(key=b"none")).header.revision
    request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
    channel.unary_unary("/etcdserverpb.KV/Compact", rpc_pb2.CompactionRequest.SerializeToString)(request)


def resident(pid: int) -> float:
    """GiB of memory that belongs to no file."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024**2
    raise RuntimeError("this kernel does not tell RssAnon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS)
    show(parser.parse_args().keys)


if __name__ == "__main__":
    main()
