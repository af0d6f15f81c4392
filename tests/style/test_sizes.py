"""Functions of at most 70 lines, files of at most 500: what does not fit on a screen hides its mistakes."""

import ast

from tests.style.sources import Source, python_files, report, sample

FUNCTION_LINES = 70
FILE_LINES = 500


def long_functions(source: Source) -> list[str]:
    return [
        f"{source.path}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]


def long_file(source: Source) -> list[str]:
    lines = source.text.count("\n")
    return [f"{source.path}: {lines} lines"] if lines > FILE_LINES else []


def test_functions():
    report([offence for source in python_files() for offence in long_functions(source)])


def test_files():
    report([offence for source in python_files() for offence in long_file(source)])


def test_the_rules_can_fail():
    body = "    x = 1\n" * 70
    assert long_functions(sample(f"def f():\n{body}"))
    assert not long_functions(sample(f"def f():\n{body[10:]}"))
    assert long_file(sample("x = 1\n" * 501))
    assert not long_file(sample("x = 1\n" * 500))
