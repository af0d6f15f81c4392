"""Registering and finding a service."""

import signal

from tests.matrix.story import TTL, Cast, Stage, Story
from tests.process.actors import Actor


async def serve(stage: Stage) -> None:
    """Register, and take it out when told."""
    registration = await stage.do(stage.client.register(stage.name, "10.0.0.1:80", ttl=TTL))
    stage.say("registered")
    await stage.told()
    await stage.do(registration.close())


async def look(stage: Stage) -> None:
    """Tell who comes and goes, until interrupted."""
    changes = stage.client.discover(stage.name).changes()
    stage.say("looking")
    while True:
        change = await stage.do(changes.__anext__() if hasattr(changes, "__anext__") else next(changes))
        stage.say(f"{change.kind.value} {change.instance.address}")


class Registry(Story):
    """One serves, one looks."""

    roles = {"serve": serve, "look": look}

    def _one_serves_one_looks(self, cast: Cast) -> tuple[Actor, Actor]:
        looks = cast.starts("look")
        serves = cast.starts("serve")
        serves.wait_for("registered")
        looks.wait_for("joined 10.0.0.1:80")
        return serves, looks

    def _leaves(self, serves: Actor, looks: Actor) -> None:
        serves.tell("go")
        assert serves.end() == 0, serves.text
        looks.wait_for("left 10.0.0.1:80")

    def normal(self, cast: Cast) -> None:
        self._leaves(*self._one_serves_one_looks(cast))

    def holder_killed(self, cast: Cast) -> None:
        serves, looks = self._one_serves_one_looks(cast)
        serves.kill()
        looks.wait_for("left 10.0.0.1:80")

    def server_restarted(self, cast: Cast) -> None:
        serves, looks = self._one_serves_one_looks(cast)
        cast.restarts_server()
        assert looks.said("left") is None, "a restart is no leave"
        self._leaves(serves, looks)

    def cancelled(self, cast: Cast) -> None:
        serves, looks = self._one_serves_one_looks(cast)
        serves.signal(signal.SIGINT)
        assert serves.end() != 0
        looks.wait_for("left 10.0.0.1:80")
        looks.signal(signal.SIGINT)
        assert looks.end() != 0
        cast.until_keys(0, f"coord/services/{cast.name}/")


STORY = Registry()
