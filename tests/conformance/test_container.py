"""The container that users' own tests start etcd in. Skipped where no container engine runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

import coord

ENGINE = "/var/run/docker.sock"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("testcontainers", reason="the package testcontainers is missing")
    if "DOCKER_HOST" not in os.environ and not answers(ENGINE):
        pytest.skip(f"no container engine listens on {ENGINE}, and DOCKER_HOST names none")
    from coord.testing.containers import EtcdContainer

    with EtcdContainer() as etcd:
        yield etcd.url


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def test_a_lock_is_held_on_etcd_in_a_container(url: str) -> None:
    with coord.connect(url) as client, client.lock("stock") as held:
        assert held.fence > 0
        assert client.lock("stock").try_acquire() is None


def test_a_service_is_found_on_etcd_in_a_container(url: str) -> None:
    with coord.connect(url) as client, client.register("orders", "10.0.0.1:80"):
        assert [each.address for each in client.instances("orders")] == ["10.0.0.1:80"]
