"""The lock."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    held = await stage.do(stage.client.lock(stage.name, ttl=TTL).acquire())
    stage.say("have")
    await stage.told()
    held.check()
    await stage.do(held.release())


STORY = Exclusive(have)
