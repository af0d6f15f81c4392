"""Load by h2load (Debian package nghttp2-client): a native client, so that the server is what is measured."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Shape:
    """How hard to push: `clients` connections with `streams` requests under way on each."""

    clients: int
    streams: int
    requests: int

    @property
    def name(self) -> str:
        return f"{self.clients}x{self.streams}"


WARM = Shape(4, 8, 4_000)
ONE = Shape(1, 1, 3_000)
MANY = Shape(16, 64, 20_000)


def available() -> bool:
    return shutil.which("h2load") is not None


def rate(port: int, path: str, request: Message, shape: Shape) -> float:
    """Requests a second, all of them answered.

    Raises:
        RuntimeError: a request failed, or h2load did.
    """
    body = request.SerializeToString()
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\x00" + len(body).to_bytes(4, "big") + body)
        file.flush()
        done = subprocess.run(
            [
                "h2load",
                f"-n{shape.requests}",
                f"-c{shape.clients}",
                f"-m{shape.streams}",
                "-d",
                file.name,
                "-H",
                "content-type: application/grpc",
                "-H",
                "te: trailers",
                f"http://127.0.0.1:{port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
    figures = re.search(r"finished in [^,]+, ([\d.]+) req/s", done)
    succeeded = re.search(r"(\d+) succeeded", done)
    if not figures or not succeeded or int(succeeded.group(1)) != shape.requests:
        raise RuntimeError(f"not every request was answered:\n{done}")
    return float(figures.group(1))
