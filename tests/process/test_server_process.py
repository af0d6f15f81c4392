"""The server as a process: exit codes, messages, signals, addresses, readiness."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from coord.wire import methods, rpc_pb2
from tests.servers import ROOT, Port, ServerFailed, ServerProcess
from tests.waiting import until

pytestmark = pytest.mark.process

SECONDS = 30.0


def run(*flags: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the server's command to its own end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    return subprocess.run(
        [sys.executable, "-m", "coord.server", *flags],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**environment, "PYTHONPATH": str(ROOT), **(env or {})},
        cwd=cwd or tempfile.gettempdir(),
        check=False,
    )


def lines_of(text: str) -> list[dict[str, Any]]:
    """Log lines that are JSON; output of others stands in between where a test provokes it."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def call(target: str, method: methods.Method, request: Any, **settings: Any) -> Any:
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = channel.unary_unary(method.path)(request.SerializeToString(), timeout=10, **settings)
    return method.response.FromString(answer)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with ServerProcess("bundled") as process:
        yield process


# --- exit codes and messages


def test_version_is_shown_and_is_no_failure() -> None:
    ended = run("--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("etcd Version: 3.")
    assert "coord Version: " in ended.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_shown_and_is_no_failure(flag: str) -> None:
    ended = run(flag)
    assert ended.returncode == 0
    assert "--listen-client-urls" in ended.stdout


@pytest.mark.parametrize("flag", ["--nonsense", "--max-txn-ops=many", "--initial-cluster-state=maybe", "--name"])
def test_a_command_line_that_cannot_be_read_ends_with_2_and_the_usage(flag: str) -> None:
    ended = run(flag)
    assert ended.returncode == 2
    assert "Usage:" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            ["--listen-client-urls=http://example.com:1", "--advertise-client-urls=http://127.0.0.1:1"],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            ["--heartbeat-interval=500"],
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]",
        ),
        (["--auto-compaction-mode=foo"], 'unknown auto-compaction-mode "foo"'),
        (["--auth-token=magic"], "auth: invalid auth options"),
        (["extra"], "'extra' is not a valid flag"),
        (
            ["--name=n1", "--initial-cluster=n2=http://localhost:2380"],
            'couldn\'t find local name "n1" in the initial cluster configuration',
        ),
    ],
)
def test_settings_that_cannot_work_end_with_1_and_etcds_words(flags: list[str], message: str) -> None:
    ended = run(*flags)
    assert ended.returncode == 1
    assert message in [line.get("error") for line in lines_of(ended.stderr)]


def test_a_variable_that_a_flag_hides_ends_with_1() -> None:
    ended = run("--name=x", env={"ETCD_NAME": "x"})
    assert ended.returncode == 1
    assert "ETCD_NAME" in ended.stderr


def test_a_taken_port_ends_the_second_server_with_a_clear_error(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    ended = run(
        f"--data-dir={tmp_path}/d",
        f"--listen-client-urls={server.endpoint}",
        f"--advertise-client-urls={server.endpoint}",
    )
    assert ended.returncode == 1
    address = server.endpoint.removeprefix("http://")
    assert f"listen tcp {address}: bind: address already in use" in ended.stderr
    assert not (tmp_path / "d").exists(), "nothing is made before the address is known to be free"
    assert server.running


def test_a_data_directory_in_use_ends_the_second_server(server: ServerProcess) -> None:
    server.start()
    port = Port()
    url = f"http://127.0.0.1:{port.number}"
    ended = run(f"--data-dir={server.data_dir}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}")
    port.close()
    assert ended.returncode == 1
    assert "failed to start etcd" in [line["msg"] for line in lines_of(ended.stderr)]
    assert server.running


# --- life


def test_the_lines_that_tools_wait_for_come_in_order(server: ServerProcess) -> None:
    server.start()
    assert server.stop() == -signal.SIGTERM
    lines = lines_of(server.log())
    for line in lines:
        assert list(line)[:4] == ["level", "ts", "caller", "msg"]
    messages = [line["msg"] for line in lines]
    wanted = [
        "starting an etcd server",
        "published local member to cluster through raft",
        "ready to serve client requests",
        "serving client traffic insecurely; this is strongly discouraged!",
        "received signal; shutting down",
        "closed etcd server",
    ]
    assert [message for message in messages if message in wanted] == wanted


def test_the_console_format_has_the_same_lines_with_tabs(server: ServerProcess) -> None:
    server.start(flags=["--log-format=console"])
    server.stop()
    assert "\tinfo\tserver/server.py:" in server.log()
    assert "\tready to serve client requests" in server.log()


def test_log_lines_go_where_they_are_sent(server: ServerProcess, tmp_path: Path) -> None:
    server.start(flags=[f"--log-outputs={tmp_path}/log", "--log-level=warn"])
    server.stop()
    assert server.log() == ""
    assert [line["level"] for line in lines_of((tmp_path / "log").read_text())] == ["warn"], "the advice to set a name"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_dies_by_the_signal_that_ended_it(server: ServerProcess, number: signal.Signals) -> None:
    server.start()
    server.signal(number)
    assert server.process is not None
    assert server.process.wait(SECONDS) == -number


def test_what_was_acknowledged_is_there_after_a_restart(server: ServerProcess) -> None:
    server.start()
    put = call(server.target, methods.KV_PUT, rpc_pb2.PutRequest(key=b"k", value=b"v"))
    server.restart()
    got = call(server.target, methods.KV_RANGE, rpc_pb2.RangeRequest(key=b"k"))
    assert got.kvs[0].value == b"v"
    assert got.header.revision == put.header.revision
    assert got.header.member_id == put.header.member_id
    assert got.header.raft_term == put.header.raft_term + 1, "a restart is a new term"


def test_a_stop_ends_open_streams_with_unavailable_and_does_not_wait_for_them(server: ServerProcess) -> None:
    server.start()
    requests = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"k")).SerializeToString()
    done = threading.Event()

    def forever() -> Iterator[bytes]:
        yield requests
        done.wait()

    with grpc.insecure_channel(server.target) as channel:
        stream = channel.stream_stream(methods.WATCH.path)(forever())
        created = rpc_pb2.WatchResponse.FromString(next(stream))
        assert created.created
        started = time.monotonic()
        assert server.stop() == -signal.SIGTERM
        assert time.monotonic() - started < 5.0, "an idle watch must not use up the grace for proposals"
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        done.set()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.value.details() == "etcdserver: server stopped"


def test_a_stop_under_load_acknowledges_only_what_is_kept(server: ServerProcess) -> None:
    server.start()
    acknowledged: list[list[bytes]] = [[] for _ in range(8)]
    refused: list[grpc.RpcError] = []

    def write(worker: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.target, options=options) as channel:
            put = channel.unary_unary(methods.KV_PUT.path)
            for number in range(1_000_000):
                key = b"%d/%d" % (worker, number)
                try:
                    put(rpc_pb2.PutRequest(key=key).SerializeToString(), timeout=10)
                except grpc.RpcError as error:
                    refused.append(error)
                    return
                acknowledged[worker].append(key)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: all(len(keys) > 20 for keys in acknowledged), "some writes of each")
    assert server.stop() == -signal.SIGTERM
    for thread in threads:
        thread.join(SECONDS)
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    server.start()
    found = call(server.target, methods.KV_RANGE, rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", keys_only=True))
    kept = {kv.key for kv in found.kvs}
    assert {key for keys in acknowledged for key in keys} <= kept


def test_a_second_signal_ends_the_process_at_once(server: ServerProcess) -> None:
    server.start()
    server.pause()
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGINT)
    server.resume()
    assert server.process is not None
    assert server.process.wait(SECONDS) in (-signal.SIGTERM, -signal.SIGINT)


def test_a_starter_is_told_when_clients_are_served(tmp_path: Path) -> None:
    port = Port()
    url = f"http://127.0.0.1:{port.number}"
    read, write = os.pipe()
    argv = ["--data-dir", str(tmp_path / "d"), "--listen-client-urls", url, "--advertise-client-urls", url]
    with subprocess.Popen(
        [sys.executable, "-m", "coord.server", *argv, f"--ready-fd={write}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(write)
        assert os.read(read, 100) == b"ready\n"
        assert call(url.removeprefix("http://"), methods.STATUS, rpc_pb2.StatusRequest()).leader
        assert os.read(read, 100) == b"", "the descriptor is closed once it has served"
        process.terminate()
    os.close(read)
    port.close()


# --- addresses


def test_a_unix_socket_is_served_and_gone_after_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ServerProcess("bundled", client_url=f"unix://{path}") as server:
        server.start()
        assert call(f"unix:{path}", methods.STATUS, rpc_pb2.StatusRequest()).leader
        server.stop()
        assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ServerProcess("bundled", client_url=f"unix://{path}") as server:
        server.start()
        server.kill()
        assert path.exists()
        server.start()
        assert call(f"unix:{path}", methods.STATUS, rpc_pb2.StatusRequest()).leader


def test_a_socket_that_somebody_serves_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ServerProcess("bundled", client_url=f"unix://{path}") as first:
        first.start()
        url = f"unix://{path}"
        ended = run(f"--data-dir={tmp_path}/d", f"--listen-client-urls={url}", f"--advertise-client-urls={url}")
        assert ended.returncode == 1
        assert f"listen unix {path}: bind: address already in use" in ended.stderr
        assert call(f"unix:{path}", methods.STATUS, rpc_pb2.StatusRequest()).leader


def test_several_addresses_are_served_at_once(tmp_path: Path) -> None:
    with ServerProcess("bundled") as server:
        both = f"{server.endpoint},unix://{tmp_path}/s"
        server.start(flags=[f"--listen-client-urls={both}"])
        for target in (server.target, f"unix:{tmp_path}/s"):
            assert call(target, methods.STATUS, rpc_pb2.StatusRequest()).leader


def test_the_same_address_twice_is_one_address(server: ServerProcess) -> None:
    server.start(flags=[f"--listen-client-urls={server.endpoint},{server.endpoint}"])
    assert server.log().count("serving client traffic insecurely") == 1


# --- going when nobody is there


def test_a_server_that_nobody_needs_stops_by_itself(server: ServerProcess) -> None:
    server.start(flags=["--idle-stop=0.5"])
    assert server.process is not None
    assert server.process.wait(SECONDS) == 0
    assert "nobody needs this server; shutting down" in server.log()


def test_a_connection_keeps_it_there_and_so_does_a_lease(server: ServerProcess) -> None:
    server.start(flags=["--idle-stop=0.3"])
    with socket.create_connection(("127.0.0.1", server.ports[0].number)):
        time.sleep(1.5)
        assert server.running, "somebody is connected"
        call(server.target, methods.LEASE_GRANT, rpc_pb2.LeaseGrantRequest(TTL=4))
    time.sleep(1.5)
    assert server.running, "a lease is alive"
    assert server.process is not None
    assert server.process.wait(SECONDS) == 0


# --- what gRPC itself answers


def test_paths_that_do_not_exist_have_etcds_words(server: ServerProcess) -> None:
    server.start()
    with grpc.insecure_channel(server.target) as channel:
        for path, text in (
            ("/etcdserverpb.KV/Nonsense", "unknown method Nonsense for service etcdserverpb.KV"),
            ("/no.Such/Method", "unknown service no.Such"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert refused.value.details() == text


def test_bytes_that_are_no_request_are_internal(server: ServerProcess) -> None:
    server.start()
    with grpc.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(methods.KV_PUT.path)(b"\x0a\xff", timeout=10)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.RpcError) as refused:
            list(channel.stream_stream(methods.WATCH.path)(iter([b"\x0a\xff"]), timeout=10))
        assert refused.value.code() is grpc.StatusCode.INTERNAL


def test_the_health_service_tells_who_asks_and_who_watches(server: ServerProcess) -> None:
    server.start()
    with grpc.insecure_channel(server.target) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\x01x", timeout=10)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert refused.value.details() == "unknown service"
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(watching) == b"\x08\x01"
        watching.cancel()


def test_a_reader_that_takes_nothing_does_not_delay_others(server: ServerProcess) -> None:
    """A watcher that reads nothing of 64 MB must cost neither the memory nor anybody else's events."""
    server.start()
    create = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"k")).SerializeToString()
    done = threading.Event()

    def forever() -> Iterator[bytes]:
        yield create
        done.wait()

    with grpc.insecure_channel(server.target) as slow, grpc.insecure_channel(server.target) as fast:
        stuck = slow.stream_stream(methods.WATCH.path)(forever())
        next(stuck)
        watching = fast.stream_stream(methods.WATCH.path)(forever())
        next(watching)
        put = fast.unary_unary(methods.KV_PUT.path)
        for number in range(64):
            put(rpc_pb2.PutRequest(key=b"k", value=b"%03d" % number + bytes(1_000_000)).SerializeToString(), timeout=10)
            got = rpc_pb2.WatchResponse.FromString(next(watching))
            assert got.events[0].kv.value[:3] == b"%03d" % number
        seen = 0
        while seen < 64:
            response = rpc_pb2.WatchResponse.FromString(next(stuck))
            for event in response.events:
                assert event.kv.value[:3] == b"%03d" % seen, "each event once and in order"
                seen += 1
        done.set()


def test_a_failed_start_leaves_a_log_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with ServerProcess("bundled", data_dir=tmp_path / "file") as server:
        with pytest.raises(ServerFailed):
            server.start()
        assert server.process is not None
        assert server.process.returncode == 1
        assert "failed to start etcd" in server.log()
