"""A configuration that several change and one follows."""

import signal
from typing import Any

from tests.matrix.story import Cast, Stage, Story
from tests.process.actors import Actor

COUNTS = 15


def up(now: dict[str, Any]) -> dict[str, Any]:
    """Two fields that nobody may ever see apart."""
    return {"count": now.get("count", 0) + 1, "twin": now.get("twin", 0) + 1}


async def count(stage: Stage) -> None:
    """Count up, and go on when told."""
    config = stage.client.config(stage.name)
    for number in range(COUNTS):
        await stage.do(config.update(up))
        stage.say(f"counted {number + 1}")
        if number == 0:
            await stage.told()
    stage.say("done")


async def look(stage: Stage) -> None:
    """Tell what is shown, until interrupted."""
    changes = stage.client.config(stage.name).changes()
    while True:
        change = await stage.do(changes.__anext__() if hasattr(changes, "__anext__") else next(changes))
        assert change.new.get("count") == change.new.get("twin"), change
        stage.say(f"shows {change.new.get('count')};")


class Config(Story):
    """Two count, one looks."""

    roles = {"count": count, "look": look}

    def _two_count_one_looks(self, cast: Cast) -> tuple[Actor, Actor, Actor]:
        looks = cast.starts("look")
        looks.wait_for("shows None;")
        first, second = cast.starts("count"), cast.starts("count")
        first.wait_for("counted 1")
        second.wait_for("counted 1")
        looks.wait_for("shows 2;")
        return first, second, looks

    def _adds_up(self, cast: Cast, looks: Actor, least: int, most: int) -> None:
        """What is stored is what was counted, and the history and who looks agree."""
        config = cast.client.config(cast.name)
        with config as seen:
            total = seen.current["count"]
        assert least <= total <= most
        assert [entry.texts["twin"] for entry in config.history()] == [str(number + 1) for number in range(total)]
        looks.wait_for(f"shows {total};")

    def _ends(self, *counting: Actor) -> None:
        for actor in counting:
            actor.tell("go")
        for actor in counting:
            assert actor.end() == 0, actor.text

    def normal(self, cast: Cast) -> None:
        first, second, looks = self._two_count_one_looks(cast)
        self._ends(first, second)
        self._adds_up(cast, looks, 2 * COUNTS, 2 * COUNTS)

    def holder_killed(self, cast: Cast) -> None:
        first, second, looks = self._two_count_one_looks(cast)
        first.tell("go")
        first.wait_for("counted 3")
        first.kill()
        self._ends(second)
        self._adds_up(cast, looks, COUNTS + 3, 2 * COUNTS)

    def server_restarted(self, cast: Cast) -> None:
        first, second, looks = self._two_count_one_looks(cast)
        first.tell("go")
        cast.restarts_server()
        assert looks.running
        second.tell("go")
        for actor in (first, second):
            assert actor.end() == 0, actor.text
        self._adds_up(cast, looks, 2 * COUNTS, 2 * COUNTS)

    def cancelled(self, cast: Cast) -> None:
        first, second, looks = self._two_count_one_looks(cast)
        first.tell("go")
        first.wait_for("counted 2")
        first.signal(signal.SIGINT)
        first.end()
        self._ends(second)
        self._adds_up(cast, looks, COUNTS + 2, 2 * COUNTS)
        looks.signal(signal.SIGINT)
        assert looks.end() != 0


STORY = Config()
