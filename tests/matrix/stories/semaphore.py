"""The semaphore, with one permit; the number of permits stays stored."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    """Take the permit, and give it back when told."""
    held = await stage.do(stage.client.semaphore(stage.name, 1, ttl=TTL).acquire())
    stage.say("have")
    await stage.told()
    held.check()
    await stage.do(held.release())


STORY = Exclusive(have, waiting=3, rest=1)
