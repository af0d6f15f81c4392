"""Everything exists twice with the same names and signatures: blocking, and for asyncio."""

import importlib
import inspect
from typing import Any

from tests.style.sources import library, report

PAIRS: list[tuple[str, str]] = [
    ("coord.client.blocking:BlockingClient", "coord.client.aio:AsyncClient"),
    ("coord:Client", "coord.aio:Client"),
    ("coord.client.leases:BlockingLeases", "coord.client.leases:AsyncLeases"),
    ("coord.client.maintenance:BlockingMaintenance", "coord.client.maintenance:AsyncMaintenance"),
    ("coord.client.users:BlockingAuth", "coord.client.users:AsyncAuth"),
    ("coord.client.txn:BlockingTxn", "coord.client.txn:AsyncTxn"),
]
"""Pairs whose names do not show it; ``X`` and ``AsyncX`` of recipes and of the client are found by themselves."""

SHELLS = {"AsyncHub", "AsyncConnection", "AsyncPort"}
"""Inside of the client: their faces differ because a loop and a thread do."""

ONLY_ONE_SIDE = {
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}


def found_pairs() -> list[tuple[str, str]]:
    """Classes AsyncX of coord.recipes and coord.client with the class X of the same or another module there."""
    classes: dict[str, str] = {}
    for source in library():
        if source.module.startswith(("coord.recipes", "coord.client")):
            module = importlib.import_module(source.module)
            for name, value in vars(module).items():
                if inspect.isclass(value) and value.__module__ == source.module and not name.startswith("_"):
                    classes[name] = f"{source.module}:{name}"
    return [
        (classes[name.removeprefix("Async")], where)
        for name, where in sorted(classes.items())
        if name.startswith("Async") and name not in SHELLS and name.removeprefix("Async") in classes
    ]


def load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def surface(kind: type) -> dict[str, Any]:
    """Public names, and the context manager and iterator methods under their blocking names."""
    renamed = {other: name for name, other in ONLY_ONE_SIDE.items()}
    found = {}
    for name in dir(kind):
        plain = renamed.get(name, name)
        if plain in ONLY_ONE_SIDE or not plain.startswith("_"):
            found[plain] = inspect.getattr_static(kind, name)
    return found


def type_of(annotation: Any) -> str:
    """The type as written, without what must differ: the names of the asyncio faces, and functions that are awaited."""
    written = annotation if isinstance(annotation, str) else str(annotation)
    return "a function" if "Callable[" in written else written.replace("Async", "")


def parameters(value: Any) -> list[tuple[str, Any, Any, str]] | None:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        return None
    if not callable(value):
        return None
    return [
        (each.name, each.kind, None if callable(each.default) else each.default, type_of(each.annotation))
        for each in inspect.signature(value).parameters.values()
    ]


def drift(blocking: type, asynchronous: type) -> list[str]:
    one, other = surface(blocking), surface(asynchronous)
    pair = f"{blocking.__name__} / {asynchronous.__name__}"
    offences = [f"{pair}: only one has {name}" for name in sorted(set(one) ^ set(other))]
    for name in sorted(set(one) & set(other)):
        if parameters(one[name]) != parameters(other[name]):
            offences.append(f"{pair}: {name} differs: {parameters(one[name])} and {parameters(other[name])}")
    return offences


def test_same_names_and_signatures():
    pairs = sorted({*PAIRS, *found_pairs()})
    report([offence for one, other in pairs for offence in drift(load(one), load(other))])


def functions(module: Any) -> dict[str, Any]:
    """Public functions that a facade offers beside its classes."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__.startswith("coord.")
    }


def test_both_facades_offer_the_same_functions():
    blocking, asynchronous = importlib.import_module("coord.sync"), importlib.import_module("coord.aio")
    one = {name: each for name, each in functions(blocking).items() if each.__module__ == "coord.sync"}
    other = {name: each for name, each in functions(asynchronous).items() if each.__module__ == "coord.aio"}
    offences = [f"only one facade has {name}" for name in sorted(set(one) ^ set(other))]
    offences += [
        f"{name} differs: {parameters(one[name])} and {parameters(other[name])}"
        for name in sorted(set(one) & set(other))
        if parameters(one[name]) != parameters(other[name])
    ]
    report(offences)


def test_coord_offers_every_function_of_its_blocking_facade():
    coord, blocking = importlib.import_module("coord"), importlib.import_module("coord.sync")
    offered = {name for name, each in functions(blocking).items() if each.__module__ == "coord.sync"}
    report([f"coord does not offer {name}, and coord.aio does" for name in sorted(offered - set(coord.__all__))])


def test_public_list_is_short_and_true():
    coord = importlib.import_module("coord")
    assert len(coord.__all__) <= 60
    report([f"coord.__all__ names {name}, which does not exist" for name in coord.__all__ if not hasattr(coord, name)])
    assert list(coord.__all__) == sorted(coord.__all__, key=lambda name: (not name.isupper(), name.islower(), name))


def test_the_rule_can_fail():
    class A:
        def f(self, x, *, timeout=1): ...
        def __enter__(self): ...

    class B:
        async def f(self, x, *, timeout=1): ...
        async def __aenter__(self): ...

    class C:
        async def f(self, x, *, timeout=2): ...
        async def __aenter__(self): ...

    class D:
        async def f(self, x: int, *, timeout=1): ...
        async def __aenter__(self): ...

    class E:
        async def f(self, x, *, timeout=1): ...

    assert not drift(A, B)
    for other in (C, D, E):
        assert len(drift(A, other)) == 1
