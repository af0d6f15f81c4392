"""The generated messages are those of the .proto files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.style.sources import ROOT


def compiler() -> str | None:
    """An interpreter that has the compiler: named by PROTOC_PYTHON, or made by the script before, or this one."""
    candidates = [os.environ.get("PROTOC_PYTHON", ""), str(ROOT / ".venv-protos" / "bin" / "python"), sys.executable]
    for candidate in candidates:
        probe = "import grpc_tools, importlib.metadata as m; print(m.version('grpcio-tools'))"
        if candidate and Path(candidate).exists():
            done = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
            if done.stdout.strip() == "1.62.3":
                return candidate
    return None


def test_generated_messages_are_up_to_date(tmp_path):
    python = compiler()
    if python is None:
        pytest.skip("grpcio-tools 1.62.3 is not installed; tools/generate_protos.sh installs it")
    environment = {**os.environ, "PROTOC_PYTHON": python}
    subprocess.run([ROOT / "tools" / "generate_protos.sh", tmp_path], check=True, env=environment)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    kept = sorted(
        path.relative_to(ROOT) for folder in ("wire", "server") for path in (ROOT / "coord" / folder).glob("*_pb2.py*")
    )
    assert made == kept
    assert [path for path in made if (tmp_path / path).read_text() != (ROOT / path).read_text()] == []


def test_messages_belong_to_packages_of_our_own():
    """Two clients of etcd in one process must not register the same names with protobuf."""
    for path in ROOT.glob("coord/**/*.proto"):
        assert "\npackage coord." in path.read_text(), path
