"""What users write with the asyncio client."""

from typing import assert_type

import coord
from coord import aio
from coord.recipes.elections.candidate import Leader
from coord.recipes.elections.leadership import AsyncLeadership


async def work() -> None:
    async with aio.connect("memory://", namespace="/app", timeout=2.0) as client:
        await client.put("key", "value")
        found = await client.get("key")
        assert_type(found, coord.KeyValue | None)

        @client.synchronized("user/{user_id}", timeout=1)
        async def locked(user_id: int) -> str:
            return str(user_id)

        assert_type(await locked(7), str)
        async with client.lock("stock", ttl=5, timeout=1) as held:
            assert_type(held.fence, int)
            held.check()
    async with aio.queue("mail").take() as job:
        assert_type(job.tries, int)
    taken = await aio.queue("mail").take(timeout=0)
    await taken.ack()
    async for each in aio.delay_queue("mail"):
        await each.nack()
    async with aio.lock("/my-lock"):
        pass
    election = aio.election("cron")
    async with election.lead("me") as leader:
        assert_type(leader.term, int)
        await leader.proclaim("still me")
    async for leading in election.observe():
        assert_type(leading, Leader | None)
    async for transition in election.transitions():
        assert_type(transition.leader, AsyncLeadership | None)

    @election.leader_only
    async def nightly(leads: AsyncLeadership, day: int) -> str:
        return f"{leads.term} {day}"

    assert_type(await nightly(7), str)
