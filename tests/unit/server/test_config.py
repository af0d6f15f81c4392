"""ServerConfig: etcd's messages for what cannot work, and the numbers derived from settings."""

from __future__ import annotations

import pytest

from coord.server.settings.config import ConfigError, ServerConfig
from coord.server.settings.urls import Url, parse_url


def refusal(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        ServerConfig(**settings).validate()  # type: ignore[arg-type]  # the tests pass what a user may pass
    return str(caught.value)


def test_the_defaults_are_valid_and_warn_of_nothing() -> None:
    config = ServerConfig()
    config.validate()
    assert config.warnings == []


def test_an_election_timeout_needs_five_heartbeats() -> None:
    assert refusal(heartbeat_interval_ms=500) == (
        "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]"
    )


def test_five_heartbeats_are_enough() -> None:
    ServerConfig(heartbeat_interval_ms=200, election_timeout_ms=1000).validate()


def test_an_election_timeout_of_a_minute_is_too_long() -> None:
    assert refusal(election_timeout_ms=60_000) == (
        "--election-timeout[60000ms] is too long, and should be set less than 50000ms"
    )


@pytest.mark.parametrize(
    ("field", "flag"), [("heartbeat_interval_ms", "heartbeat"), ("election_timeout_ms", "election")]
)
def test_timing_must_be_positive(field: str, flag: str) -> None:
    assert refusal(**{field: 0}).startswith(f"--{flag}-")


def test_a_name_is_nothing_to_bind_to() -> None:
    assert refusal(listen_client_urls=("http://example.com:2379",)) == (
        "expected IP in URL for binding (http://example.com:2379)"
    )


def test_localhost_is_an_exception_among_names() -> None:
    ServerConfig(listen_client_urls=("http://localhost:2379",)).validate()


def test_https_without_certificates_is_refused() -> None:
    assert "TLS key/cert (--cert-file, --key-file) must be provided" in refusal(
        listen_client_urls=("https://127.0.0.1:2379",)
    )


def test_a_socket_path_must_fit_into_the_kernels_field() -> None:
    assert "longer than 100 bytes" in refusal(listen_client_urls=("unix:///" + "x" * 101,))


def test_this_member_must_be_in_the_initial_cluster() -> None:
    assert refusal(name="n1", initial_cluster="n2=http://localhost:2380") == (
        'couldn\'t find local name "n1" in the initial cluster configuration'
    )


def test_the_initial_cluster_must_have_the_advertised_peer_urls() -> None:
    assert "missing from --initial-advertise-peer-urls=http://localhost:2380" in refusal(
        initial_cluster="default=http://127.0.0.1:9"
    )


def test_a_cluster_of_several_is_refused_with_a_sentence() -> None:
    assert "single member" in refusal(initial_cluster="default=http://localhost:2380,b=http://localhost:3")


def test_unknown_compaction_mode() -> None:
    assert refusal(auto_compaction_mode="foo") == 'unknown auto-compaction-mode "foo"'


def test_a_huge_request_size_is_allowed_with_a_warning() -> None:
    config = ServerConfig(max_request_bytes=64 * 1024 * 1024)
    config.validate()
    assert "recommended" in config.warnings[0]


@pytest.mark.parametrize(("given", "bytes_"), [(0, 2 * 1024**3), (-1, 0), (5, 5)])
def test_quota_zero_is_the_default_and_negative_is_none(given: int, bytes_: int) -> None:
    assert ServerConfig(quota_backend_bytes=given).quota_bytes == bytes_


@pytest.mark.parametrize(("heartbeat", "election", "ttl"), [(100, 1000, 2), (100, 500, 1), (500, 5000, 8), (10, 50, 1)])
def test_the_shortest_lease_is_one_and_a_half_elections_rounded_up(heartbeat: int, election: int, ttl: int) -> None:
    assert ServerConfig(heartbeat_interval_ms=heartbeat, election_timeout_ms=election).lease_ttl_min_s == ttl


def test_a_request_may_take_seven_seconds_by_default() -> None:
    assert ServerConfig().request_timeout_s == 7.0


def test_grpc_accepts_half_a_mebibyte_more_than_a_request_may_have() -> None:
    assert ServerConfig().receive_bytes_max == 2_097_152


def test_the_data_directory_follows_the_name() -> None:
    assert ServerConfig(name="a").directory == "a.etcd"
    assert ServerConfig(name="a", data_dir="/d").directory == "/d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
        ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
        ("http://localhost", 'URL address does not have the form "host:port": http://localhost'),
        ("http://localhost:x", 'URL address does not have the form "host:port": http://localhost:x'),
        ("http://localhost:99999", 'URL address does not have the form "host:port": http://localhost:99999'),
        ("http://localhost:1/x", "URL must not contain a path: http://localhost:1/x"),
        ("unix://", "URL names no socket: unix://"),
    ],
)
def test_addresses_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        parse_url(text)
    assert str(caught.value) == message


def test_addresses_as_grpc_writes_them() -> None:
    assert parse_url("http://[::1]:2379").grpc_address == "[::1]:2379"
    assert parse_url("http://127.0.0.1:2379").grpc_address == "127.0.0.1:2379"
    assert parse_url("unix:///run/c.sock").grpc_address == "unix:/run/c.sock"


def test_addresses_print_as_they_were_given() -> None:
    for text in ("http://127.0.0.1:2379", "https://[::1]:1", "unix:///run/c.sock"):
        assert str(parse_url(text)) == text


def test_unix_urls_know_what_they_are() -> None:
    assert parse_url("unix:///x") == Url("unix", path="/x")
    assert parse_url("unixs:///x").secure
