"""Two that begin and end together."""

import signal

from tests.matrix.story import TTL, Cast, Stage, Story
from tests.process.actors import Actor


async def member(stage: Stage) -> None:
    """Enter with another one, and leave with it when told."""
    barrier = stage.client.double_barrier(stage.name, 2, ttl=TTL)
    stage.say("comes")
    await stage.do(barrier.enter())
    stage.say("in")
    await stage.told()
    await stage.do(barrier.leave())
    stage.say("out")


class DoubleBarrier(Story):
    """Two enter, two leave."""

    roles = {"member": member}

    def _one_waits(self, cast: Cast) -> Actor:
        first = cast.starts("member")
        cast.until_keys(1)
        assert first.said("in") is None
        return first

    def _enter(self, cast: Cast, first: Actor) -> Actor:
        second = cast.starts("member")
        for each in (first, second):
            each.wait_for("in")
        return second

    def _leave(self, cast: Cast, first: Actor, second: Actor) -> None:
        first.tell("go")
        cast.until_keys(1)
        assert first.said("out") is None
        second.tell("go")
        for each in (first, second):
            each.wait_for("out")
            assert each.end() == 0, each.text
        cast.until_keys(0)

    def normal(self, cast: Cast) -> None:
        first = self._one_waits(cast)
        self._leave(cast, first, self._enter(cast, first))

    def holder_killed(self, cast: Cast) -> None:
        """One that is in is killed: the other leaves without it."""
        first = self._one_waits(cast)
        self._enter(cast, first).kill()
        first.tell("go")
        first.wait_for("out")
        assert first.end() == 0, first.text
        cast.until_keys(0)

    def server_restarted(self, cast: Cast) -> None:
        first = self._one_waits(cast)
        cast.restarts_server()
        self._leave(cast, first, self._enter(cast, first))

    def cancelled(self, cast: Cast) -> None:
        """One that waits is interrupted, and is not counted."""
        gone = self._one_waits(cast)
        gone.signal(signal.SIGINT)
        assert gone.end() != 0, gone.text
        cast.until_keys(0)
        first = self._one_waits(cast)
        self._leave(cast, first, self._enter(cast, first))


STORY = DoubleBarrier()
