"""Lock cycles with PyPI's etcd3; run in an environment of its own: HOST PORT CYCLES. Prints seconds a cycle."""

import sys
import time

import etcd3  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]  # only where it is run

host, port, cycles = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = etcd3.client(host=host, port=port, timeout=10)


def run(count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        with client.lock("bench-rival", ttl=10):
            pass
    return (time.perf_counter() - started) / count


run(max(cycles // 3, 1))
print(run(cycles))
