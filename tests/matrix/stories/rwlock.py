"""The read/write lock, of which the writers' side excludes."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    """Take it for writing, and give it back when told."""
    held = await stage.do(stage.client.rwlock(stage.name, ttl=TTL).write().acquire())
    stage.say("have")
    await stage.told()
    held.check()
    await stage.do(held.release())


STORY = Exclusive(have)
