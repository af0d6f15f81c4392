"""Calls and statements that are not used here, each with what is used instead."""

import ast
from collections.abc import Iterator

from tests.style.sources import Source, python_files, report, sample


class Ban:
    """One thing that is not used.

    Attributes:
        name: dotted name of the call.
        instead: what to use.
        allowed: module prefixes where it is right, each with its reason beside it.
    """

    def __init__(self, name: str, instead: str, *allowed: str) -> None:
        self.name, self.instead, self.allowed = name, instead, allowed

    def concerns(self, module: str) -> bool:
        return not any(module == prefix or module.startswith(prefix + ".") for prefix in self.allowed)


BANS = (
    Ban(
        "time.sleep",
        "wait for a condition: port.sleep in programs, Event.wait(timeout) in threads, until(...) in tests",
        "tests.process",  # processes give no event to wait for
        "benchmarks",  # lets a server settle before it is measured
        "tools",  # a demo that people watch
        "coord.client.connection.fork",  # runs while no other thread can: there is nothing to wait on
        "coord.local",  # a server that starts in another process can only be asked again and again
    ),
    Ban(
        "print",
        "logging in the library, structlog in the server, coord.cli.output in commands",
        "coord.cli",  # the command's output is its product
        "coord.testing.sim.runner",  # a command as well
        "tests",
        "benchmarks",
        "tools",
    ),
    Ban(
        "logging.basicConfig",
        "nothing: the application configures logging; the server uses coord.server.logs",
        "tests.process",  # child processes there are applications
    ),
    Ban("asyncio.get_event_loop", "asyncio.get_running_loop()"),
    Ban(
        "asyncio.run_coroutine_threadsafe",
        "loop.call_soon_threadsafe with a plain callback",
        "tests",
        "coord.client.ports.aio",  # the keeper's thread has the loop start an endpoint; it logs how that ended
    ),
    Ban("os.system", "subprocess with an argument list"),
    Ban("pickle.loads", "a versioned format of our own", "tests"),
    Ban("eval", "nothing"),
    Ban("exec", "nothing", "tests"),  # documentation examples are run
)


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def banned_calls(source: Source) -> Iterator[str]:
    bans = [ban for ban in BANS if ban.concerns(source.module)]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            for ban in bans:
                if dotted(node.func) == ban.name:
                    yield f"{source.path}:{node.lineno}: {ban.name} - use {ban.instead}"
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                for ban in bans:
                    if f"{node.module}.{alias.name}" == ban.name:
                        yield f"{source.path}:{node.lineno}: {ban.name} - use {ban.instead}"


def banned_statements(source: Source) -> Iterator[str]:
    shipped = source.module.startswith("coord")
    for node in ast.walk(source.tree):
        where = f"{source.path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and says_nothing(node.body):
            yield f"{where}: swallows every exception - catch what can happen, or log it"
        elif shipped and isinstance(node, ast.Assert) and not narrows(node.test):
            yield f"{where}: assert - invariant() in the server, an error of the tree elsewhere (-O strips asserts)"
        elif shipped and isinstance(node, ast.Raise) and raised(node) == "NotImplementedError":
            yield f"{where}: NotImplementedError - leave out what does not work yet"


def narrows(test: ast.expr) -> bool:
    """``assert x is not None`` and ``assert isinstance(x, T)`` tell a type checker what the code around ensures."""
    if isinstance(test, ast.BoolOp):
        return all(narrows(each) for each in test.values)
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and isinstance(test.comparators[0], ast.Constant)
    return isinstance(test, ast.Call) and dotted(test.func) == "isinstance"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or dotted(handler.type) in ("Exception", "BaseException")


def says_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, (ast.Pass, ast.Continue))
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def raised(node: ast.Raise) -> str:
    if node.exc is None:
        return ""
    return dotted(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)


def test_calls():
    report([offence for source in python_files() for offence in banned_calls(source)])


def test_statements():
    report([offence for source in python_files() for offence in banned_statements(source)])


def test_the_rules_can_fail():
    assert list(banned_calls(sample("import time\ntime.sleep(1)\n")))
    assert list(banned_calls(sample("from time import sleep\n")))
    assert not list(banned_calls(sample("import time\ntime.sleep(1)\n", "tests.process.test_kill")))
    assert list(banned_calls(sample("print(1)\n")))
    assert not list(banned_calls(sample("print(1)\n", "coord.cli.output")))
    assert list(banned_statements(sample("try:\n    f()\nexcept Exception:\n    pass\n")))
    assert list(banned_statements(sample("try:\n    f()\nexcept:\n    ...\n")))
    assert not list(banned_statements(sample("try:\n    f()\nexcept OSError:\n    pass\n")))
    assert list(banned_statements(sample("assert x\n")))
    assert list(banned_statements(sample("raise NotImplementedError\n")))
    assert not list(banned_statements(sample("assert x is not None\nassert isinstance(x, int)\n")))
    assert not list(banned_statements(sample("assert x\n", "tests.unit.test_x")))
