"""Fixtures shared by the whole suite: servers of every kind, unique prefixes."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.servers import KINDS, ServerMissing, ServerProcess

_prefixes = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        default=",".join(KINDS),
        help=f"comma list of servers that server tests run against (default {','.join(KINDS)})",
    )
    parser.addoption("--recipes", default="", help="comma list of recipes of tests/matrix (default: all)")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C mean something: a run started in the background ignores SIGINT, and so would its children.

    Tests of what an interrupt does would then fail on one machine and pass on another.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def chosen_kinds(config: pytest.Config) -> list[str]:
    """The kinds named by --servers."""
    kinds = [kind.strip() for kind in str(config.getoption("--servers")).split(",") if kind.strip()]
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise pytest.UsageError(f"--servers: unknown {sorted(unknown)}, known are {', '.join(KINDS)}")
    return kinds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_kind" in metafunc.fixturenames:
        metafunc.parametrize("server_kind", chosen_kinds(metafunc.config), scope="session", indirect=True)


def make_server(kind: str, **options: object) -> ServerProcess:
    """A prepared server; skips the test when that kind is missing, fails it when it may not be missing."""
    try:
        return ServerProcess(kind, **options)  # type: ignore[arg-type]  # the options are checked there
    except ServerMissing as missing:
        if os.environ.get("COORD_REQUIRE_REAL_ETCD") == "1":
            pytest.fail(f"COORD_REQUIRE_REAL_ETCD=1, but {missing}")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> str:
    """ "bundled", "etcd34" or "etcd35"; every test that asks for a server runs once for each."""
    return str(request.param)


@pytest.fixture(scope="session")
def server(server_kind: str) -> Iterator[ServerProcess]:
    """One server of the kind for the whole session; tests keep to their own `prefix` and never compact it."""
    with make_server(server_kind) as process:
        yield process.start()


@pytest.fixture(scope="session")
def endpoint(server: ServerProcess) -> str:
    """URL of the shared server."""
    return server.endpoint


@pytest.fixture
def fresh_server(server_kind: str) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of the kind for this test alone: ``fresh_server("--max-txn-ops=4")``."""
    started: list[ServerProcess] = []

    def start(*flags: str, **options: object) -> ServerProcess:
        process = make_server(server_kind, flags=flags, **options)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.close()


@pytest.fixture
def prefix() -> bytes:
    """A key prefix that no other test of any run against the same server uses."""
    return b"%x.%x/" % (os.getpid(), next(_prefixes))
