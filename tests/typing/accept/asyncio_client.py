"""What users write with the asyncio client."""

from typing import assert_type

import coord
from coord import aio


async def work() -> None:
    async with aio.connect("memory://", namespace="/app", timeout=2.0) as client:
        await client.put("key", "value")
        found = await client.get("key")
        assert_type(found, coord.KeyValue | None)
        async with client.lock("stock", ttl=5, timeout=1) as held:
            assert_type(held.fence, int)
            held.check()
    async with aio.lock("/my-lock"):
        pass
