"""What coord costs beside etcd 3.4 and beside the bare transport, as ratios, with the target of each.

python -m benchmarks [transport] [lock] [rivals] [fanout] [registry] [million] [--rounds N] [--keys N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from benchmarks import fanout, locks, million_keys, registry, transport
from benchmarks.report import ROUNDS, Line
from benchmarks.rivals import bench as rivals
from tests.servers import ServerMissing

_COMPARED: dict[str, Callable[[int], Iterator[Line]]] = {
    each.NAME: each.run for each in (transport, locks, rivals, fanout, registry)
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What coord costs beside etcd 3.4 and the bare transport: medians of alternating rounds, as "
        "ratios. Wants an idle machine; takes some minutes.",
    )
    names = [*_COMPARED, million_keys.NAME]
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to run: {', '.join(names)} (all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each comparison ({ROUNDS})")
    parser.add_argument("--keys", type=int, default=million_keys.KEYS, help=f"keys of {million_keys.NAME}")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    wanted = options.names or names
    missed = 0
    print(f"{'':<58}{'median':>7} {'(rounds)':<16}{'target':<9}")
    for name in wanted:
        try:
            if name == million_keys.NAME:
                missed += million_keys.show(options.keys)
                continue
            for line in _COMPARED[name](options.rounds):
                print(line, flush=True)
                missed += line.verdict == "missed"
        except (ServerMissing, RuntimeError) as error:
            print(f"{name} is left out: {error}", flush=True)
    print(f"{missed} missed" if missed else "all targets met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
