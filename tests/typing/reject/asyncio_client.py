"""Mistakes with the asyncio client."""

from coord import aio


async def work() -> None:
    client = aio.connect("memory://")
    client.get("key").value  # expect: attr-defined
    with client.lock("stock"):  # expect: attr-defined
        pass
    with aio.connect("memory://"):  # expect: attr-defined
        pass
    async with client.lock("stock") as held:
        held.fence = 5  # expect: misc
