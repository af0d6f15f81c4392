"""Every public thing says what it is, and what it raises: errors are part of a contract between machines."""

import ast
from collections.abc import Iterator

from tests.style.sources import Source, library, report, sample

Function = ast.FunctionDef | ast.AsyncFunctionDef
Defined = Function | ast.ClassDef

_FOR_FREE = {"overload", "setter", "override"}  # the sentence stands on the other definition

_NO_CONTRACT = {
    "AssertionError",  # a defect of ours; nobody can prepare for it
    "InvariantBroken",
    "Exit",  # how a command gives its exit code
    "BadParameter",
}


def public(name: str) -> bool:
    return not name.startswith("_")


def definitions(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.ClassDef | None, Defined]]:
    """Public functions and classes of a module, and public methods of public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef) and public(node.name):
            yield owner, node
            yield from definitions(node.body, node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and public(node.name):
            yield owner, node


def decorators(node: Defined) -> set[str]:
    found = set()
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        found.add(target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", ""))
    return found


def methods_of(sources: tuple[Source, ...]) -> Iterator[Function]:
    for source in sources:
        for owner, node in definitions(source.tree.body):
            if owner is not None and not isinstance(node, ast.ClassDef):
                yield node


def explained_methods(sources: tuple[Source, ...]) -> set[str]:
    """Names that some class explains or some protocol declares: an implementation need not repeat the sentence."""
    return {node.name for node in methods_of(sources) if ast.get_docstring(node) or only_declared(node)}


def methods_with_raises(sources: tuple[Source, ...]) -> set[str]:
    """Names of methods whose errors some class tells."""
    return {node.name for node in methods_of(sources) if "Raises" in (ast.get_docstring(node) or "")}


def only_declared(node: Function) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


def missing(source: Source, explained: set[str]) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield f"{source.path}:1: the module says nothing about itself"
    for owner, node in definitions(source.tree.body):
        if ast.get_docstring(node) or decorators(node) & _FOR_FREE:
            continue
        if owner is not None and node.name in explained:
            continue
        if owner is not None and "property" in decorators(node):
            continue  # a name and a type; ruff asks where more is needed
        yield f"{source.path}:{node.lineno}: {node.name} has no docstring"


def own_raises(node: Function) -> Iterator[str]:
    """Names of the exceptions that a function itself makes and lets out."""
    pending: list[tuple[ast.AST, bool]] = [(statement, False) for statement in node.body]
    while pending:
        current, inside = pending.pop()
        if isinstance(current, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(current, ast.Raise) and isinstance(current.exc, ast.Call) and not inside:
            called = current.exc.func
            yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "?")
        if isinstance(current, ast.Try) and current.handlers:  # what it raises inside may be caught right there
            pending += [(child, True) for child in current.body]
            rest = [*current.handlers, *current.orelse, *current.finalbody]
            pending += [(child, inside) for child in rest]
        else:
            pending += [(child, inside) for child in ast.iter_child_nodes(current)]


def unmentioned(source: Source, told: set[str]) -> Iterator[str]:
    for owner, node in definitions(source.tree.body):
        if isinstance(node, ast.ClassDef) or decorators(node) & _FOR_FREE or (owner is not None and node.name in told):
            continue
        names = [name for name in own_raises(node) if name[:1].isupper() and name not in _NO_CONTRACT]
        text = ast.get_docstring(node) or ""
        if names and "Raises" not in text:
            yield f"{source.path}:{node.lineno}: {node.name} raises {', '.join(sorted(set(names)))} and does not say so"


def test_public_things_have_docstrings():
    explained = explained_methods(library())
    report([offence for source in library() for offence in missing(source, explained)])


def test_what_raises_says_so():
    told = methods_with_raises(library())
    report([offence for source in library() for offence in unmentioned(source, told)])


def test_the_rules_can_fail():
    assert len(list(missing(sample("class A:\n    def f(self): ...\ndef g(): ...\n"), set()))) == 4
    assert not list(missing(sample('"""M."""\nclass _A:\n    def f(self): ...\ndef _g(): ...\n'), set()))
    silent = 'def f():\n    """F."""\n    raise ValueError("x")\n'
    telling = 'def f():\n    """F.\n\n    Raises:\n        ValueError: x."""\n    raise ValueError("x")\n'
    passing_on = 'def f():\n    """F."""\n    try:\n        g()\n    except ValueError:\n        raise\n'
    assert list(unmentioned(sample(silent), set()))
    assert not list(unmentioned(sample(telling), set()))
    assert not list(unmentioned(sample(passing_on), set()))
