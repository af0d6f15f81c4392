"""`import coord` is light: neither the server nor a framework comes with it. And nothing lies about unused."""

import ast
import subprocess
import sys

import pytest

from tests.style.sources import ROOT, Source, imported, library, python_files, report

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


def loaded_with(source: Source, modules: set[str]) -> set[str]:
    """Modules of coord that loading this one loads: imports at its top level, those for type checking left out."""
    outer: list[ast.stmt] = [node for node in source.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name for _, name in imported(source._replace(tree=ast.Module(outer, [])))}
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules - {source.module}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Shortest way back to itself of each module that has one."""
    found = []
    for start in sorted(graph):
        paths = [[start]]
        seen: set[str] = set()
        while paths:
            path = paths.pop(0)
            for target in sorted(graph.get(path[-1], ())):
                if target == start:
                    found.append([*path, start])
                    paths.clear()
                    break
                if target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return found


def test_no_import_cycles():
    """A cycle works for whoever imports the right module first, and breaks for somebody else."""
    modules = {source.module for source in library()}
    graph = {source.module: loaded_with(source, modules) for source in library()}
    report([" -> ".join(cycle) for cycle in cycles(graph)])
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"], ["c", "b", "c"]]


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
