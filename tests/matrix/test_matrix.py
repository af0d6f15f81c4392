"""Every recipe, on both faces, on every server, whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.matrix.stories import STORIES
from tests.matrix.story import cast
from tests.servers import ServerProcess

pytestmark = pytest.mark.timeout(120)


def test_matrix(
    recipe: str,
    face: str,
    situation: str,
    server: ServerProcess,
    prefix: bytes,
    record_property: Callable[[str, object], None],
) -> None:
    for what, value in (("recipe", recipe), ("face", face), ("server", server.kind), ("situation", situation)):
        record_property(what, value)
    name = f"{recipe}-{prefix.decode().rstrip('/')}"
    with cast(recipe, face, situation, server, name) as players:
        getattr(STORIES[recipe], situation.replace(" ", "_"))(players)
