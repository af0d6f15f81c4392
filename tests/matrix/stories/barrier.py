"""Waiting at a barrier that the test opens."""

import signal

from tests.matrix.story import Cast, Stage, Story
from tests.process.actors import Actor


async def wait(stage: Stage) -> None:
    """Wait until it is open."""
    stage.say("waiting")
    await stage.do(stage.client.barrier(stage.name).wait())
    stage.say("passed")


class Barrier(Story):
    """The test closes it, one or two wait."""

    roles = {"wait": wait}

    def _waits(self, cast: Cast) -> Actor:
        cast.client.barrier(cast.name).close()
        waiter = cast.starts("wait")
        waiter.wait_for("waiting")
        assert waiter.said("passed") is None
        return waiter

    def _is_let_through(self, cast: Cast, waiter: Actor) -> None:
        cast.client.barrier(cast.name).open()
        waiter.wait_for("passed")
        assert waiter.end() == 0, waiter.text
        assert len(cast.keys()) == 1

    def normal(self, cast: Cast) -> None:
        self._is_let_through(cast, self._waits(cast))

    def holder_killed(self, cast: Cast) -> None:
        """Nobody holds it: one of those who wait is killed, and the other goes on."""
        first, second = self._waits(cast), self._waits(cast)
        first.kill()
        self._is_let_through(cast, second)

    def server_restarted(self, cast: Cast) -> None:
        waiter = self._waits(cast)
        cast.restarts_server()
        assert waiter.said("passed") is None, "a restart opens nothing"
        self._is_let_through(cast, waiter)

    def cancelled(self, cast: Cast) -> None:
        first, second = self._waits(cast), self._waits(cast)
        first.signal(signal.SIGINT)
        assert first.end() != 0, first.text
        self._is_let_through(cast, second)


STORY = Barrier()
