"""The queue."""

import signal
from urllib.parse import quote

from tests.matrix.story import TTL, Cast, Stage, Story
from tests.process.actors import Actor


async def have(stage: Stage) -> None:
    job = await stage.do(stage.client.queue(stage.name, ttl=2 * TTL).take())
    stage.say(f"have {job.text} {job.tries}")
    await stage.told()
    await stage.do(job.ack())


def below(cast: Cast, place: str) -> str:
    return f"coord/queues/{quote(cast.name, safe='')}/{place}/"


def one_has_one_waits(cast: Cast) -> tuple[Actor, Actor]:
    cast.client.queue(cast.name).put("first")
    first = cast.starts("have")
    first.wait_for("have first 1")
    second = cast.starts("have")
    cast.until_keys(1, below(cast, "line"))
    assert second.said("have") is None
    return first, second


def acknowledges(actor: Actor) -> None:
    actor.tell("go")
    assert actor.end() == 0, actor.text


def is_done(cast: Cast) -> None:
    cast.until_keys(0, *(below(cast, place) for place in ("jobs", "ready", "taken", "line")))


class Handed(Story):
    """Jobs go from one to another."""

    roles = {"have": have}  # as every story says it

    def normal(self, cast: Cast) -> None:
        """Who waits gets the next job."""
        first, second = one_has_one_waits(cast)
        cast.client.queue(cast.name).put("second")
        second.wait_for("have second 1")
        acknowledges(second)
        acknowledges(first)
        is_done(cast)

    def holder_killed(self, cast: Cast) -> None:
        """Who waits gets the job of the one that was killed."""
        first, second = one_has_one_waits(cast)
        first.kill()
        second.wait_for("have first 2")
        acknowledges(second)
        is_done(cast)

    def server_restarted(self, cast: Cast) -> None:
        """Who has a job keeps it, who waits gets the next one."""
        first, second = one_has_one_waits(cast)
        cast.restarts_server()
        cast.client.queue(cast.name).put("second")
        second.wait_for("have second 1")
        acknowledges(first)
        acknowledges(second)
        is_done(cast)

    def cancelled(self, cast: Cast) -> None:
        """Who is interrupted while it waits leaves the line at once, and what it would have got goes to others."""
        first, second = one_has_one_waits(cast)
        second.signal(signal.SIGINT)
        assert second.end() != 0, second.text
        cast.until_keys(0, below(cast, "line"))
        cast.client.queue(cast.name).put("second")
        third = cast.starts("have")
        third.wait_for("have second 1")
        acknowledges(first)
        acknowledges(third)
        is_done(cast)


STORY = Handed()
