"""TLS of a connection: what to trust and who to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import grpc

from coord.errors import UsageError

PathOrPem = str | os.PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates; each is a path, or the PEM text itself as bytes.

    Attributes:
        ca: certificates to trust instead of the built-in roots.
        cert: own certificate, for servers that ask for one.
        key: private key of `cert`.
        server_name: name to expect in the server's certificate, if it is not the host connected to.
    """

    ca: PathOrPem | None = None
    cert: PathOrPem | None = None
    key: PathOrPem | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise UsageError("tls needs cert and key together")

    def __repr__(self) -> str:
        names = [name for name in ("ca", "cert", "key") if getattr(self, name) is not None]
        return f"Tls({', '.join(f'{name}=…' for name in names)})"

    def credentials(self) -> grpc.ChannelCredentials:
        """The same for gRPC. Files are read now, so a renewed certificate is used by the next connection.

        Raises:
            UsageError: a file cannot be read.
        """
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.cert))


def _pem(source: PathOrPem | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(source)!r}: {error.strerror}") from error
