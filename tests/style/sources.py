"""The project's own files, for the tests that read them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_SKIPPED = {"__pycache__", "build", "dist"}
_TEXT = {".py", ".pyi", ".proto", ".md", ".toml", ".txt", ".sh", ".yaml", ".yml", ".cfg", ".ini", ".json", ""}


class Source(NamedTuple):
    """One Python file.

    Attributes:
        path: relative to the repository.
        module: dotted name it is imported by.
        text: its text.
        tree: its syntax tree.
    """

    path: Path
    module: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> bool:
        """True for an __init__ file."""
        return self.path.name == "__init__.py"


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") and path.name != ".ci"
        if hidden or path.name in _SKIPPED or path.name.endswith(".egg-info"):
            continue
        if path.is_symlink():  # coord/recipes and coord/integrations show the folders at the top
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def text_files() -> Iterator[Path]:
    """Every text file of the repository, relative to it; generated ones left out."""
    for path in _walk(ROOT):
        if path.suffix in _TEXT and "_pb2" not in path.name:
            yield path.relative_to(ROOT)


def module_name(path: Path) -> str:
    """Dotted name of a Python file given relative to the repository."""
    parts = list(path.with_suffix("").parts)
    if parts[0] in ("recipes", "integrations"):
        parts.insert(0, "coord")
    return ".".join(parts).removesuffix(".__init__")


@functools.cache
def python_files() -> tuple[Source, ...]:
    """Every Python file of the repository, parsed; generated ones left out."""
    found = []
    for path in text_files():
        if path.suffix == ".py":
            text = (ROOT / path).read_text()
            found.append(Source(path, module_name(path), text, ast.parse(text, str(path))))
    return tuple(found)


def library() -> tuple[Source, ...]:
    """What is shipped: coord with recipes and integrations."""
    return tuple(source for source in python_files() if source.module.split(".")[0] == "coord")


def sample(text: str, module: str = "coord.sample") -> Source:
    """A made-up file, to show that a rule can fail."""
    return Source(Path(module.replace(".", "/") + ".py"), module, text, ast.parse(text))


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, inside functions too; relative names are made absolute."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = source.module.split(".")
                kept = parts[: len(parts) - node.level + source.package]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def report(offences: list[str]) -> None:
    """Fail with all offences, one a line."""
    assert not offences, "\n".join(["", *offences])
