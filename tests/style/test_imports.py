"""`import coord` is light: neither the server nor a framework comes with it. And nothing lies about unused."""

import ast
import subprocess
import sys

import pytest

from tests.style.sources import ROOT, imported, library, python_files, report

HEAVY = (
    "coord.server",
    "coord.testing",
    "coord.cli",
    "lmdb",
    "structlog",
    "uvloop",
    "typer",
    "click",
    "rich",
    "yaml",
    "fastapi",
    "django",
    "flask",
    "starlette",
    "celery",
    "sqlalchemy",
    "cryptography",
    "pytest",
    "unittest",
)


def loaded_by(statement: str) -> set[str]:
    """Names of all modules in a new interpreter after the statement."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import coord", "import coord.client", "import coord.recipes"])
def test_import_is_light(statement):
    loaded = loaded_by(statement)
    report([name for name in sorted(loaded) if name in HEAVY or name.startswith(("coord.server.", "coord.testing."))])


def test_import_says_nothing():
    """No warning of any kind, on any supported runtime of protobuf and grpc."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import coord, coord.server.__main__, coord.wire.rpc_pb2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


EACH_FIRST = """
import importlib, os, sys, warnings
import google.protobuf.descriptor_pb2, structlog, lmdb, typer, rich  # loaded once; only coord's own order matters
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing = getattr(error, "name", None) or ""
            if not missing or missing.partition(".")[0] == "coord":
                print(f"{name}: {error}", flush=True)
                os._exit(1)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_module_can_be_imported_first():
    """Import order hides cycles: a module that works only after another one breaks for some user."""
    names = [source.module for source in library() if not source.module.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-c", EACH_FIRST, *names], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ROOTS = ("coord", "coord.aio", "coord.cli.main", "coord.server.__main__", "coord.server.local", "coord.recipes")
"""Modules that users and commands begin at; below coord.testing and coord.integrations everything is one."""


def test_no_dead_module():
    """Every module is reached from where users and commands begin, through imports of shipped code."""
    graph = {source.module: {name for _, name in imported(source)} for source in library()}
    reached: set[str] = set()
    pending = [name for name in graph if name in ROOTS or name.startswith(("coord.testing", "coord.integrations"))]
    while pending:
        module = pending.pop()
        if module in reached or module not in graph:
            continue
        reached.add(module)
        pending += [target for name in graph[module] for target in (name, name.rpartition(".")[0])]
        pending.append(module.rpartition(".")[0])
    report([f"{name}: nothing that is shipped imports it" for name in sorted(set(graph) - reached)])


def test_no_dead_test_helper():
    """Modules of tests that hold no tests are imported by some that do."""
    wanted = {name for source in python_files() for _, name in imported(source)}
    wanted |= {name.rpartition(".")[0] for name in wanted}
    report(
        [
            f"{source.path}: no test imports it"
            for source in python_files()
            if source.module.startswith("tests.")
            and not source.package
            and not source.path.name.startswith(("test_", "conftest"))
            and "typing" not in source.path.parts
            and source.module not in wanted
            and not runs_alone(source.tree)
        ]
    )


def runs_alone(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)
