"""The election, of which one leads."""

from tests.matrix.story import TTL, Exclusive, Stage


async def have(stage: Stage) -> None:
    """Lead, say so, and resign when told."""
    election = stage.client.election(stage.name, ttl=TTL)
    leader = await stage.do(election.campaign("candidate"))
    await stage.do(leader.proclaim("leader"))
    stage.say("have")
    await stage.told()
    leader.check()
    await stage.do(leader.resign())


STORY = Exclusive(have)
