"""Waiting for a latch that processes count down."""

import signal

from tests.matrix.story import Cast, Stage, Story
from tests.process.actors import Actor

COUNT = 2


async def wait(stage: Stage) -> None:
    """Wait until it was counted down."""
    stage.say("waiting")
    await stage.do(stage.client.latch(stage.name, COUNT).wait())
    stage.say("passed")


async def count(stage: Stage) -> None:
    """Count down, and go when told."""
    left = await stage.do(stage.client.latch(stage.name, COUNT).count_down())
    stage.say(f"left {left}")
    await stage.told()


class Latch(Story):
    """One waits, two count down."""

    roles = {"wait": wait, "count": count}

    def _waits(self, cast: Cast) -> Actor:
        waiter = cast.starts("wait")
        waiter.wait_for("waiting")
        return waiter

    def _counts(self, cast: Cast, left: int) -> Actor:
        counter = cast.starts("count")
        counter.wait_for(f"left {left}")
        return counter

    def _passes(self, cast: Cast, waiter: Actor) -> None:
        assert waiter.said("passed") is None
        self._counts(cast, 0).kill()
        waiter.wait_for("passed")
        assert waiter.end() == 0, waiter.text
        cast.until_keys(2)

    def normal(self, cast: Cast) -> None:
        waiter = self._waits(cast)
        self._counts(cast, 1).tell("go")
        self._passes(cast, waiter)

    def holder_killed(self, cast: Cast) -> None:
        """One that counted is killed: it stays counted."""
        waiter = self._waits(cast)
        self._counts(cast, 1).kill()
        self._passes(cast, waiter)

    def server_restarted(self, cast: Cast) -> None:
        waiter = self._waits(cast)
        counter = self._counts(cast, 1)
        cast.restarts_server()
        counter.tell("go")
        self._passes(cast, waiter)

    def cancelled(self, cast: Cast) -> None:
        first, second = self._waits(cast), self._waits(cast)
        first.signal(signal.SIGINT)
        assert first.end() != 0, first.text
        self._counts(cast, 1).tell("go")
        self._passes(cast, second)


STORY = Latch()
