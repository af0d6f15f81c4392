"""A real etcd in a container, for tests that shall run against what production runs.

Needs the package ``testcontainers`` and a container engine. The same test then runs on ``memory://`` and on this.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from testcontainers.core.container import DockerContainer

import coord
from coord.errors import CoordError, Unavailable

CLIENT_PORT = 2379


class EtcdContainer:
    """One etcd member in a container; a context manager.

    Example::

        with EtcdContainer("bitnami/etcd:3.5") as etcd, coord.connect(etcd.url) as client:
            ...
    """

    def __init__(self, image: str = "bitnami/etcd:3.5", *, ready_seconds: float = 60.0) -> None:
        """Describe the container; `start` starts it.

        Args:
            image: any image whose command is etcd and that reads etcd's environment.
            ready_seconds: how long `start` waits until etcd answers, pulling of the image not counted.
        """
        self._ready_seconds = ready_seconds
        self._container = DockerContainer(image).with_exposed_ports(CLIENT_PORT)
        settings = {
            "ETCD_LISTEN_CLIENT_URLS": f"http://0.0.0.0:{CLIENT_PORT}",
            "ETCD_ADVERTISE_CLIENT_URLS": f"http://127.0.0.1:{CLIENT_PORT}",
            "ALLOW_NONE_AUTHENTICATION": "yes",
        }
        for name, value in settings.items():
            self._container.with_env(name, value)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self._container.get_container_host_ip()}:{self._container.get_exposed_port(CLIENT_PORT)}"

    def start(self) -> Self:
        """Start the container and wait until etcd answers.

        Raises:
            Unavailable: etcd did not answer in time; the message ends with its log.
            docker.errors.DockerException: the engine cannot be reached, or has no such image.
        """
        self._container.start()
        try:
            with coord.connect(self.url) as client:
                client.get("ready?", timeout=self._ready_seconds)
        except CoordError as error:
            out, err = self._container.get_logs()
            self.stop()
            log = (out + err)[-2000:].decode("utf-8", "replace")
            raise Unavailable(f"etcd in the container does not answer ({error}); its log ends with:\n{log}") from error
        return self

    def stop(self) -> None:
        """Stop the container and remove it."""
        self._container.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
