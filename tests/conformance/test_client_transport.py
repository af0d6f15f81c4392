"""TLS and unix sockets: what stands between client and server."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coord.client.connection.tls import Tls
from coord.errors import AuthenticationFailed, CallTimeout, Unavailable, UsageError
from tests.conftest import make_server
from tests.faces import KINDS, Face, face
from tests.servers import Port, ServerProcess

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Authority:
    """A certificate authority of the test's own, with certificates for a server and a client."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ca, ca_key = home / "ca.pem", home / "ca.key"
        run = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test")
        subprocess.run([*run, "-keyout", ca_key, "-out", self.ca], check=True, capture_output=True)
        self.server = self.issue("server", "subjectAltName=DNS:localhost,DNS:other.test,IP:127.0.0.1")
        self.client = self.issue("client", "extendedKeyUsage=clientAuth,serverAuth")

    def issue(self, name: str, extension: str) -> tuple[Path, Path]:
        cert, key, request, extra = (self.home / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext"))
        extra.write_text(extension)
        run = ("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}")
        subprocess.run([*run, "-keyout", key, "-out", request], check=True, capture_output=True)
        sign = ("openssl", "x509", "-req", "-days", "2", "-CAcreateserial", "-CA", self.ca)
        files = ("-CAkey", self.home / "ca.key", "-in", request, "-out", cert, "-extfile", extra)
        subprocess.run([*sign, *files], check=True, capture_output=True)
        return cert, key


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def secure_server(server_kind: str, authority: Authority) -> Iterator[ServerProcess]:
    """Asks clients for a certificate."""
    with closing(Port()) as port:
        cert, key = authority.server
        flags = [f"--cert-file={cert}", f"--key-file={key}", "--client-cert-auth", f"--trusted-ca-file={authority.ca}"]
        url = f"https://127.0.0.1:{port.number}"
        with make_server(server_kind, flags=flags, client_url=url, probe=False) as server:
            server.start()
            own_cert, own_key = authority.client
            with face("blocking", url, tls=Tls(ca=authority.ca, cert=own_cert, key=own_key), timeout=1) as f:
                while not answers(f):
                    if not server.running:
                        pytest.skip(f"{server_kind} has no TLS")
            yield server


def answers(f: Face) -> bool:
    try:
        f.client.get("ready?")
    except Unavailable:
        return False
    return True


def test_both_sides_show_certificates(secure_server: ServerProcess, authority: Authority, kind: str) -> None:
    cert, key = authority.client
    with face(kind, secure_server.endpoint, tls=Tls(ca=authority.ca, cert=cert, key=key)) as f:
        f.do(f.client.put("a", "1"))
    from_text = Tls(ca=authority.ca.read_bytes(), cert=cert.read_bytes(), key=key.read_bytes())
    with face(kind, secure_server.endpoint, tls=from_text) as f:
        assert f.do(f.client.get("a")).text == "1"


def test_name_in_the_certificate(secure_server: ServerProcess, authority: Authority, kind: str) -> None:
    cert, key = authority.client
    for name, accepted in (("other.test", True), ("wrong.test", False)):
        tls = Tls(ca=authority.ca, cert=cert, key=key, server_name=name)
        with face(kind, secure_server.endpoint, tls=tls) as f:
            if accepted:
                f.do(f.client.put("a", "1"))
                continue
            with pytest.raises(Unavailable):
                f.do(f.client.put("a", "1", timeout=1))


def test_unknown_authority(secure_server: ServerProcess, kind: str) -> None:
    with face(kind, secure_server.endpoint) as f, pytest.raises(Unavailable):
        f.do(f.client.put("a", "1", timeout=1))


def test_no_certificate(secure_server: ServerProcess, authority: Authority, kind: str) -> None:
    with (
        face(kind, secure_server.endpoint, tls=Tls(ca=authority.ca)) as f,
        pytest.raises((Unavailable, CallTimeout, AuthenticationFailed)),
    ):
        f.do(f.client.put("a", "1", timeout=1))


def test_plain_text_to_a_secure_server(secure_server: ServerProcess, kind: str) -> None:
    plain = secure_server.endpoint.replace("https://", "http://")
    with face(kind, plain) as f, pytest.raises((Unavailable, CallTimeout)):
        f.do(f.client.put("a", "1", timeout=1))


def test_tls_needs_a_secure_endpoint_and_its_files(authority: Authority, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="https"):
        face(kind, "http://localhost:1", tls=Tls(ca=authority.ca)).__enter__()
    with pytest.raises(UsageError, match="together"):
        Tls(cert=authority.client[0])
    with face(kind, "https://localhost:1", tls=Tls(ca=tmp_path / "none")) as f, pytest.raises(UsageError, match="none"):
        f.do(f.client.get("a"))


def test_proxy_for_the_web_is_not_asked(server: ServerProcess, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with face(kind, server.endpoint.replace("127.0.0.1", "localhost"), timeout=3) as f:
        f.do(f.client.get("a"))


def test_unix_socket(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="coord-sock-") as home:
        url = f"unix://{home}/s"
        with make_server("bundled", client_url=url, probe=False) as server:
            server.start()
            with face(kind, url, timeout=20) as f:
                f.do(f.client.put("a", "1"))
                server.restart()
                assert f.do(f.client.get("a")).text == "1"
