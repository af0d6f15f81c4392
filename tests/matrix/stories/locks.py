"""Two names as one lock."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    """Take both, and give them back when told."""
    held = await stage.do(stage.client.locks(f"{stage.name}/b", f"{stage.name}/a", ttl=TTL).acquire())
    stage.say("have")
    await stage.told()
    held.check()
    await stage.do(held.release())


STORY = Exclusive(have, waiting=3)
