"""The server as a command: flags, environment, exit codes, signals."""

import pytest

from tests.conftest import make_server


@pytest.fixture
def run(server_kind):
    """Runs the server's command until it ends by itself; returns exit code and everything it wrote."""
    with make_server(server_kind) as server:

        def start(*flags: str, **environment: str) -> tuple[int, str]:
            server.env.update(environment)
            server.start(flags=flags, wait=False)
            assert server.process is not None
            return server.process.wait(20), server.log()

        yield start


def test_version(run):
    code, log = run("--version")
    assert code == 0
    assert log.startswith("etcd Version: 3.")


def test_unknown_flag_is_exit_code_2(run):
    code, _ = run("--no-such-flag=1")
    assert code == 2


def test_value_that_cannot_be_read_is_exit_code_2(run):
    code, _ = run("--max-txn-ops=many")
    assert code == 2


def test_extra_argument_is_exit_code_1(run):
    code, log = run("extra")
    assert code == 1
    assert "'extra' is not a valid flag" in log


def test_election_timeout_must_fit_the_heartbeat(run):
    code, log = run("--heartbeat-interval=500", "--election-timeout=1000")
    assert code == 1
    assert "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]" in log


def test_election_timeout_has_a_bound(run):
    code, log = run("--election-timeout=60000")
    assert code == 1
    assert "--election-timeout[60000ms] is too long, and should be set less than 50000ms" in log


def test_unknown_compaction_mode(run):
    code, log = run("--auto-compaction-mode=foo")
    assert code == 1
    assert "foo" in log


@pytest.mark.surprise(43)
def test_variable_that_a_flag_shadows_is_fatal(run):
    code, log = run("--max-txn-ops=5", ETCD_MAX_TXN_OPS="6")
    assert code == 1
    assert "ETCD_MAX_TXN_OPS" in log


def test_variable_is_used_where_no_flag_is(fresh):
    wire = fresh(env={"ETCD_NAME": "default", "ETCD_MAX_REQUEST_BYTES": "1000"})
    with pytest.raises(Exception, match="request is too large"):
        wire.put(b"k", b"x" * 2000)


def test_port_in_use_is_exit_code_1(fresh, run):
    taken = fresh().server.endpoint
    code, log = run(f"--listen-client-urls={taken}")
    assert code == 1
    assert "address already in use" in log.lower()


@pytest.mark.surprise(44)
@pytest.mark.parametrize("number", [15, 2], ids=["SIGTERM", "SIGINT"])
def test_signal_ends_the_process_by_that_signal(fresh, number):
    server = fresh().server
    server.signal(number)
    assert server.process is not None
    assert server.process.wait(20) == -number


def test_data_directory_belongs_to_one_server(fresh, server_kind):
    first = fresh().server
    with make_server(server_kind, data_dir=first.data_dir) as second:
        second.start(wait=False)
        # etcd waits for the lock, others give up: neither may serve
        with pytest.raises(Exception, match=r"ended|does not answer"):
            second.wait_ready(2)
