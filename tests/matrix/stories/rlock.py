"""The re-entrant lock, taken twice."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    """Take it twice, and give both back when told."""
    lock = stage.client.rlock(stage.name, ttl=TTL)
    outer = await stage.do(lock.acquire())
    inner = await stage.do(lock.acquire())
    stage.say("have")
    await stage.told()
    inner.check()
    await stage.do(inner.release())
    outer.check()
    await stage.do(outer.release())


STORY = Exclusive(have)
