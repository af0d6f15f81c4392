"""Fixtures for tests of programs that use coord; pytest finds them by itself where coord is installed.

::

    def test_restock(coord_client):            # coord.lock() and the like use it, too
        restock()
        assert coord_client.get("stock/apples").text == "12"

    def test_a_lost_lock(coord_server, coord_client):
        held = coord_client.lock("stock").acquire()
        coord_server.expire(held.lease)
        assert held.lost.wait(5)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every run of pytest loads this file, also those that use none of it
    from coord.sync import Client
    from coord.testing.server import TroubledServer


@pytest.fixture
def coord_server() -> Iterator[TroubledServer]:
    """A server of the test's own that misbehaves on order; see `coord.testing.server.TroubledServer`."""
    from coord.testing.server import TroubledServer

    with TroubledServer() as server:
        yield server


@pytest.fixture
def coord_client(coord_server: TroubledServer) -> Iterator[Client]:
    """A client of `coord_server`, which is the default client meanwhile."""
    from coord.sync import connect, use_as_default

    with connect(coord_server.url) as client, use_as_default(client):
        yield client
