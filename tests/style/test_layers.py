"""Imports point downward, and each layer knows only what it may know.

The first row whose pattern fits a module holds for it. ``coord`` lists what the module may import of coord (prefixes;
its own package is not implied); ``never`` lists outside modules that it may not know. Imports inside functions and for
type checking count like all others: a layer that names a thing knows it.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from tests.style.sources import Source, imported, library, report, sample

TASKS = ("asyncio", "threading", "queue", "concurrent", "multiprocessing", "uvloop")
NETWORK = ("grpc", "socket", "ssl", "http", "urllib.request")
DISK = ("os", "io", "pathlib", "shutil", "tempfile", "fcntl", "mmap", "lmdb", "subprocess")
CHANCE = ("time", "datetime", "random", "secrets", "uuid")
FRAMEWORKS = ("fastapi", "django", "flask", "starlette", "celery", "typer", "rich", "click", "structlog", "pytest")

VALUES = ("coord.errors", "coord.statuses", "coord.model", "coord.keys", "coord.ops", "coord.clock")
PROGRAMS = (*VALUES, "coord.builder", "coord.port", "coord.program")
WIRE = "coord.wire"
SERVER_VALUES = ("coord.errors", "coord.statuses", "coord.server.invariant", "coord.server.storage.contract")


class Layer(NamedTuple):
    """What the modules that fit `pattern` may and may not import."""

    pattern: str
    coord: tuple[str, ...]
    never: tuple[str, ...] = ()


LAYERS = (
    # values: everybody may know them, they know nothing
    # queue only for queue.Empty and queue.Full, which programs catch
    Layer("coord.errors", (), ("asyncio", "threading", *NETWORK, *DISK, *CHANCE)),
    Layer("coord.statuses", (), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.clock", (), (*TASKS, *NETWORK, *DISK)),
    Layer("coord.model", VALUES, (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.keys", ("coord.errors",), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.ops", VALUES, (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.builder", VALUES, (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.port", VALUES, (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.program", VALUES, (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer("coord.defaults", (), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    # wire: messages and translation, no policy
    Layer("coord.wire*", (*VALUES, WIRE), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    # the client's state machines: told things, return actions; only chance for jitter
    Layer("coord.client.watch.requests", (*VALUES, "coord.client", WIRE), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    *(
        Layer(f"coord.client.{name}", (*PROGRAMS, "coord.client", WIRE), (*TASKS, *NETWORK, *DISK, "time"))
        for name in (
            "watch.watching",
            "watch.errors",
            "keeper.keeping",
            "keeper.declaring",
            "keeper.duties",
            "keeper.ledger",
            "keeper.session",
            "connection.endpoints",
            "connection.retry",
            "connection.urls",
        )
    ),
    # a lock only: the floor of revisions is shared by the keeper's and the callers' threads
    Layer("coord.client.connection.history", PROGRAMS, ("asyncio", *NETWORK, *DISK)),
    # the client's shells: threads, loops and grpc; they know recipes only as what they make
    Layer("coord.client*", (*PROGRAMS, "coord.client", "coord.recipes", WIRE), (*FRAMEWORKS, "lmdb")),
    # the server's deterministic core: the same log gives the same state on every member
    Layer("coord.server.invariant", (), (*TASKS, *NETWORK, *CHANCE)),
    Layer("coord.server.consensus", (), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    Layer(
        "coord.server.member.solo",
        ("coord.server.consensus", "coord.server.invariant"),
        (*TASKS, *NETWORK, *DISK, *CHANCE),
    ),
    Layer("coord.server.mvcc*", (*SERVER_VALUES, "coord.server.mvcc"), (*TASKS, *NETWORK, *DISK, *CHANCE)),
    *(
        Layer(f"coord.server.{name}", (*SERVER_VALUES, "coord.server", WIRE), (*TASKS, *NETWORK, *DISK, *CHANCE))
        for name in ("machine*", "member.commands", "member.identity")
    ),
    # storage: bytes and files; not what the bytes mean
    Layer(
        "coord.server.storage*",
        ("coord.errors", "coord.server.consensus", "coord.server.invariant", "coord.server.storage"),
        ("asyncio", *NETWORK, "time", "datetime"),
    ),
    # handlers: the transport is the adapter's business
    Layer("coord.server.api*", (*VALUES, "coord.server", WIRE), (*NETWORK, *DISK, *FRAMEWORKS)),
    Layer("coord.server*", (*VALUES, "coord.server", WIRE), ("typer", "rich", "pytest", "fastapi", "django")),
    # recipes: programs over a port
    Layer("coord.recipes", ("coord.recipes", *PROGRAMS)),
    Layer(
        "coord.recipes.ownership.owner", (*PROGRAMS, "coord.recipes"), ("grpc", *FRAMEWORKS)
    ),  # asks for the host's name
    Layer("coord.recipes.*", (*PROGRAMS, "coord.recipes"), (*NETWORK, *FRAMEWORKS, "lmdb")),
    # integrations: public names
    Layer("coord.integrations*", ("coord.aio", "coord.recipes", "coord.integrations", *VALUES)),
    # testing: everything; nobody imports it
    Layer("coord.testing*", ("coord",)),
    # the places that know client and server
    Layer("coord.place", (*VALUES, "coord.local", "coord.server.embedded"), FRAMEWORKS),
    Layer("coord.local", VALUES, (*FRAMEWORKS, "grpc", "asyncio")),
    Layer("coord.cli*", ("coord",)),
    Layer(
        "coord.sync",
        ("coord.place", "coord.defaults", "coord.client", "coord.recipes", *PROGRAMS),
        ("asyncio", *FRAMEWORKS),
    ),
    Layer(
        "coord.aio",
        ("coord.place", "coord.defaults", "coord.client", "coord.recipes", *PROGRAMS),
        ("threading", *FRAMEWORKS),
    ),
    Layer("coord", ("coord.sync", "coord.aio", "coord.client.connection.tls", "coord.recipes", *PROGRAMS), FRAMEWORKS),
)

FACES = {
    "held": "guards of both faces: an event for threads, a cancellation for tasks",
    "loss": "what is told of a loss in a thread and in a task",
    "rlock": "threads and tasks own, and those of one owner take turns at asking",
    "taking": "blocks of threads and of tasks",
    "lock": "names the calling thread or task as the owner",
    "picker": "one lock between threads that pick",
    "view": "waits for somebody to pick in a thread and in a task",
    "roster": "one lock between the program and those who look",
    "registration": "one lock between threads that update it",
    "live": "waits for changes in a thread and in a task",
    "config": "waits for what it wrote, and calls back, in a thread and in a task",
    "author": "says when a change was made",
    "queue": "the wall clock, which due times are compared with",
    "owner": "describes the process, thread and task that hold a lock",
}
"""Modules of recipes that are not programs and may know threads and tasks, with what for."""


def layer_of(module: str) -> Layer:
    for layer in LAYERS:
        if fnmatchcase(module, layer.pattern):
            return layer
    raise LookupError(f"{module}: no row of tests/style/test_layers.py fits")


def below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def upward_imports(source: Source) -> Iterator[str]:
    layer = layer_of(source.module)
    for line, name in imported(source):
        where = f"{source.path}:{line}: {source.module} imports {name}"
        if below(name, ("coord",)):
            if not below(name, layer.coord):
                yield f"{where}; row {layer.pattern!r} lets it know {', '.join(layer.coord) or 'nothing of coord'}"
        elif below(name, layer.never):
            yield f"{where}; row {layer.pattern!r} forbids it"


def forbidden_everywhere(source: Source) -> Iterator[str]:
    """Rules that no row may soften."""
    for line, name in imported(source):
        where = f"{source.path}:{line}: {source.module} imports {name}"
        if below(name, ("coord.testing",)) and not below(source.module, ("coord.testing",)):
            yield f"{where}; only tests use coord.testing"
        if below(source.module, ("coord.client",)) and below(name, ("coord.server",)):
            yield f"{where}; the client speaks to servers over the wire alone"
        if below(source.module, ("coord.server",)) and below(
            name, ("coord.client", "coord.place", "coord.sync", "coord.recipes")
        ):
            yield f"{where}; the server knows no client"
        if below(name, ("tests",)):
            yield f"{where}; tests are not shipped"


def programs_stay_pure(source: Source) -> Iterator[str]:
    """Recipes' programs hold no concurrency and no clock: the port has both."""
    parts = source.module.split(".")
    if parts[:2] != ["coord", "recipes"] or parts[-1] in FACES:
        return
    for line, name in imported(source):
        if below(name, (*TASKS, "time", "grpc")):
            yield f"{source.path}:{line}: {source.module} imports {name}; a program awaits its port, faces are in FACES"


def private_names(source: Source) -> Iterator[str]:
    """Integrations use what users may use."""
    if not below(source.module, ("coord.integrations",)):
        return
    for line, name in imported(source):
        if below(name, ("coord",)) and any(part.startswith("_") for part in name.split(".")):
            yield f"{source.path}:{line}: {name} is private"


def test_imports_point_downward():
    report([offence for source in library() for offence in upward_imports(source)])


def test_client_server_and_testing_stay_apart():
    report([offence for source in library() for offence in forbidden_everywhere(source)])


def test_programs_know_neither_threads_nor_time():
    report([offence for source in library() for offence in programs_stay_pure(source)])


def test_integrations_use_public_names():
    report([offence for source in library() for offence in private_names(source)])


def test_the_rules_can_fail():
    assert list(upward_imports(sample("import grpc\n", "coord.client.watch.watching")))
    assert list(
        upward_imports(sample("def f():\n    from coord.server.machine.lessor import Lessor\n", "coord.server.mvcc.x"))
    )
    assert list(upward_imports(sample("from coord.client import blocking\n", "coord.model")))
    assert not list(upward_imports(sample("from coord.errors import CoordError\n", "coord.client.watch.watching")))
    assert list(forbidden_everywhere(sample("import coord.server\n", "coord.client.x")))
    assert list(forbidden_everywhere(sample("from coord import client\n", "coord.server.x")))
    assert list(forbidden_everywhere(sample("from coord.testing import sim\n", "coord.sync")))
    assert list(programs_stay_pure(sample("import asyncio\n", "coord.recipes.queues.taker")))
    assert list(private_names(sample("from coord.recipes.locks.lock import _take\n", "coord.integrations.x")))
