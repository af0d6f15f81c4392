"""The servers that are compared, each in a process of its own, on a data directory that is removed afterwards."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from coord.wire import rpc_pb2
from tests import servers

ETCD = "etcd34"
BUNDLED = "bundled"
KEY = b"/bench/key/0000000000001"
VALUE = b"v" * 256

PUT = "/etcdserverpb.KV/Put"
GET = "/etcdserverpb.KV/Range"
WATCH = "/etcdserverpb.Watch/Watch"


@contextmanager
def echo(*, durable: bool = False) -> Iterator[int]:
    """The port of a bare grpcio server, see `benchmarks.echo_server`; `durable`: one that writes what it is sent."""
    with tempfile.NamedTemporaryFile() as file:
        arguments = [file.name] if durable else []
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.echo_server", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=servers.ROOT,
        )
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
            process.wait()


@contextmanager
def pair() -> Iterator[dict[str, servers.ServerProcess]]:
    """The bundled server and etcd 3.4, by kind.

    Raises:
        ServerMissing: etcd 3.4 is not installed.
    """
    with servers.running(BUNDLED) as bundled, servers.running(ETCD) as etcd:
        yield {BUNDLED: bundled, ETCD: etcd}


def number(server: servers.ServerProcess) -> int:
    """The port clients connect to."""
    return server.ports[0].number


def put_request() -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=KEY, value=VALUE)


def get_request() -> rpc_pb2.RangeRequest:
    return rpc_pb2.RangeRequest(key=KEY)


def channel(target: str) -> Any:
    """A channel that shares its connection with nobody."""
    return grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
