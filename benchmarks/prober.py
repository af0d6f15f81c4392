"""Asks a server for one key again and again; the slowest answer is how long its loop stood still, at the most.

Run as a process of its own, TARGET as argument, so that the work of whoever loads the server does not count. For each
line on its input it prints the longest answer since the last one, in milliseconds; it ends with its input.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from benchmarks import places
from coord.wire import rpc_pb2
from tests import servers

_PAUSE = 0.002


class Prober:
    """The process, from outside."""

    def __init__(self, target: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.prober", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=servers.ROOT,
        )
        self.longest()  # it has started, and connecting does not count

    def longest(self) -> float:
        """Milliseconds of the slowest answer since this was called last.

        Raises:
            RuntimeError: the prober ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError("the server did not answer the prober")
        return float(said)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _probe(target: str) -> None:
    longest = [0.0]
    with places.channel(target) as channel:
        read = channel.unary_unary(places.GET)
        request = rpc_pb2.RangeRequest(key=b"none", serializable=True).SerializeToString()
        read(request, wait_for_ready=True)

        def ask() -> None:
            while True:
                started = time.perf_counter()
                read(request)
                longest[0] = max(longest[0], time.perf_counter() - started)
                time.sleep(_PAUSE)

        threading.Thread(target=ask, daemon=True).start()
        for _ in sys.stdin:
            print(longest[0] * 1000, flush=True)
            longest[0] = 0.0


if __name__ == "__main__":
    _probe(sys.argv[1])
