"""Fixtures of the conformance suite, and the summary that shows what was compared with what."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coord
from tests.conformance.differences import BY_CASE, CRASH, DIFFERENCES
from tests.conformance.wire import Wire
from tests.conftest import make_server
from tests.servers import KINDS, ServerProcess

# A restart takes an election timeout, and the shortest lease is 1.5 of them, rounded up to a second.
QUICK = ("--heartbeat-interval=20", "--election-timeout=200")

WIRE_FIXTURES = {"wire", "compacting", "quick", "fresh", "run"}


@pytest.fixture(autouse=True)
def _remember_server(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    if "server_kind" in request.fixturenames:
        record_property("server", request.getfixturevalue("server_kind"))
        record_property("wire", bool(WIRE_FIXTURES.intersection(request.fixturenames)))


@pytest.fixture
def client(server: ServerProcess, prefix: bytes) -> Iterator[coord.Client]:
    with coord.connect(server.endpoint, namespace=prefix) as made:
        yield made


@pytest.fixture
def other(server: ServerProcess, prefix: bytes) -> Iterator[coord.Client]:
    with coord.connect(server.endpoint, namespace=prefix) as made:
        yield made


@pytest.fixture
def etcdctl(server: ServerProcess) -> Callable[..., list[str]]:
    """The command line of etcd's own client."""
    path = shutil.which("etcdctl")
    if path is None:
        pytest.skip("etcdctl is missing: apt-get install etcd-client")
    return lambda *words: [path, f"--endpoints={server.endpoint}", *words]


@pytest.fixture(scope="session")
def shared_wire(server: ServerProcess) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()


@pytest.fixture
def wire(shared_wire: Wire) -> Iterator[Wire]:
    """Calls to the shared server; streams opened by the test end with it."""
    yield shared_wire
    shared_wire.close_streams()


@pytest.fixture(scope="session")
def compacted_wire(server_kind: str) -> Iterator[Wire]:
    """Calls to the server that tests may compact."""
    with make_server(server_kind) as server:
        made = Wire(server.start())
        yield made
        made.close()


@pytest.fixture
def compacting(compacted_wire: Wire) -> Iterator[Wire]:
    """Calls to a shared server whose history a test may compact; it keeps to its own keys and reads revisions anew."""
    yield compacted_wire
    compacted_wire.close_streams()


@pytest.fixture(scope="session")
def quick_wire(server_kind: str) -> Iterator[Wire]:
    with make_server(server_kind, flags=QUICK) as server:
        made = Wire(server.start())
        yield made
        made.close()


@pytest.fixture
def quick(quick_wire: Wire) -> Iterator[Wire]:
    """Calls to a shared server that grants leases of one second; its revision moves when they expire."""
    yield quick_wire
    quick_wire.close_streams()


@pytest.fixture
def fresh(fresh_server: Callable[..., ServerProcess]) -> Iterator[Callable[..., Wire]]:
    """Starts a server for this test alone, with quick elections, and returns calls to it."""
    made: list[Wire] = []

    def start(*flags: str, **options: object) -> Wire:
        made.append(Wire(fresh_server(*QUICK, *flags, **options)))
        return made[-1]

    yield start
    for wire in made:
        wire.close()


@pytest.fixture
def lease(wire: Wire) -> Iterator[Callable[..., int]]:
    """Grants leases that are revoked at the end of the test, so that no expiry disturbs a later one."""
    granted: set[int] = set()

    def grant(ttl: int = 600, wished: int = 0) -> int:
        lease_id = wire.grant(ttl, wished).ID
        granted.add(lease_id)
        return lease_id

    yield grant
    for lease_id in granted.intersection(wire.leases()):
        wire.revoke(lease_id)


@pytest.fixture
def expected(server_kind: str) -> Callable[[str], Any]:
    """The answer of this server to a case of the table of differences."""

    def look_up(case: str) -> Any:
        return BY_CASE[case].answer(server_kind)

    return look_up


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the questions that would crash a server."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("unsafe")
        callspec = getattr(item, "callspec", None)
        kind = callspec.params.get("server_kind") if callspec else None
        crashes = marker is not None and BY_CASE[marker.args[0]].answer(str(kind)) is CRASH
        (left_out if crashes else kept).append(item)
    if left_out:
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)


def brief(answer: object) -> str:
    """An answer of the table of differences, short enough for a line."""
    if answer is CRASH:
        return "not asked"
    return f"{len(answer)} listed" if isinstance(answer, frozenset) else str(answer)


def case_of(nodeid: str, server: str) -> str:
    """The name of a case without the server it ran on."""
    name, _, parameters = nodeid.partition("[")
    kept = parameters.rstrip("]").split("-")
    if server in kept:
        kept.remove(server)
    return "-".join([name, *kept])


class Tally:
    """What was asked of which server, out of pytest's reports."""

    def __init__(self, stats: dict[str, list[Any]]) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.cases: set[str] = set()
        self.wire_cases: set[str] = set()
        for outcome in ("passed", "failed", "error", "skipped"):
            for report in stats.get(outcome, ()):
                if report.nodeid.startswith("tests/conformance/") and (report.when == "call" or outcome != "passed"):
                    self._add(report, outcome)

    def _add(self, report: Any, outcome: str) -> None:
        properties = dict(report.user_properties)
        server = str(properties.get("server", "-"))
        self.counts.setdefault(server, Counter())[outcome] += 1
        case = case_of(report.nodeid, server)
        self.cases.add(case)
        if properties.get("wire"):
            self.wire_cases.add(case)

    def missing(self) -> list[str]:
        """Kinds of servers of which nothing was asked, or nothing passed."""
        return [kind for kind in KINDS if not self.counts.get(kind, Counter())["passed"]]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Counts per server, and the table of differences."""
    tally = Tally(terminalreporter.stats)
    if not tally.counts:
        return
    say = terminalreporter.write_line
    terminalreporter.section("conformance")
    say(f"{len(tally.cases)} distinct cases, {len(tally.wire_cases)} of them directly on the wire")
    for server, outcomes in sorted(tally.counts.items()):
        shown = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        say(f"  {server:8} {shown}")
    if os.environ.get("COORD_REQUIRE_REAL_ETCD") == "1" and tally.missing():
        say(f"FAILED: COORD_REQUIRE_REAL_ETCD=1, but nothing passed on {', '.join(tally.missing())}", red=True)
    say(f"{len(DIFFERENCES)} intended differences (bundled follows the newest etcd):")
    for each in DIFFERENCES:
        answers = ", ".join(f"{kind} {brief(each.answer(kind))}" for kind in KINDS)
        say(f"  {each.case}: {answers} ({each.why})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where real servers may not be missing, a run that left one out has failed."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("COORD_REQUIRE_REAL_ETCD") != "1" or reporter is None or hasattr(session.config, "workerinput"):
        return
    tally = Tally(reporter.stats)
    if tally.counts and tally.missing() and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
