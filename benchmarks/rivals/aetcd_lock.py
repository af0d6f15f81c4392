"""Lock cycles with PyPI's aetcd; run in an environment of its own: HOST PORT CYCLES. Prints seconds a cycle."""

import asyncio
import sys
import time

import aetcd  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]  # only where it is run

host, port, cycles = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main() -> None:
    async with aetcd.Client(host=host, port=port, timeout=10) as client:

        async def run(count: int) -> float:
            started = time.perf_counter()
            for _ in range(count):
                async with client.lock(b"bench-rival", ttl=10):
                    pass
            return (time.perf_counter() - started) / count

        await run(max(cycles // 3, 1))
        print(await run(cycles))


asyncio.run(main())
