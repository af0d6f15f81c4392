"""Command line, environment and configuration file, as etcd reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coord.server.settings import config_file, environment, flags
from coord.server.settings.config import ConfigError, ServerConfig
from coord.server.settings.durations import parse_duration
from coord.server.settings.flag_table import FLAGS, Support
from coord.server.settings.flags import FlagError


def config_of(*argv: str) -> ServerConfig:
    given, rest = flags.split(argv)
    assert rest == []
    return flags.build(given)


def test_one_dash_two_dashes_equals_sign_and_next_word_mean_the_same() -> None:
    for argv in (["--name=x"], ["-name=x"], ["--name", "x"], ["-name", "x"]):
        assert config_of(*argv).name == "x"


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--unsafe-no-fsync"], True),
        (["--unsafe-no-fsync=true"], True),
        (["--unsafe-no-fsync=false"], False),
        (["-unsafe-no-fsync=F"], False),
        ([], False),
    ],
)
def test_booleans_stand_alone_or_take_a_value_behind_an_equals_sign(argv: list[str], value: bool) -> None:
    assert config_of(*argv).unsafe_no_fsync is value


def test_a_boolean_does_not_eat_the_next_word() -> None:
    assert flags.split(["--unsafe-no-fsync", "false"])[1] == ["false"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["--name"], "flag needs an argument: -name"),
        (["---name=x"], "bad flag syntax: ---name=x"),
        (["--=x"], "bad flag syntax: --=x"),
    ],
)
def test_what_is_no_flag(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        flags.split(argv)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "argv",
    [
        "--max-txn-ops=x",
        "--max-txn-ops=-1",
        "--unsafe-no-fsync=perhaps",
        "--watch-progress-notify-interval=10",
        "--initial-cluster-state=old",
        "--log-format=xml",
    ],
)
def test_what_is_no_value(argv: str) -> None:
    with pytest.raises(FlagError, match=r"^invalid value "):
        flags.split([argv])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600), ("1h30m", 5400), ("100ms", 0.1), ("1.5s", 1.5),
        ("0", 0), ("0s", 0), ("-1s", -1), ("250us", 0.00025),
    ],
)  # fmt: skip
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1x", "1m 2s", "1mm", "s1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_durations_reach_the_field_in_its_unit() -> None:
    made = config_of("--warning-apply-duration=2s", "--grpc-keepalive-interval=1h")
    assert (made.warning_apply_ms, made.grpc_keepalive_interval_s) == (2000, 3600)


def test_lists_are_split_at_commas() -> None:
    made = config_of("--listen-client-urls=http://127.0.0.1:1, unix:///x", "--advertise-client-urls=http://127.0.0.1:1")
    assert made.listen_client_urls == ("http://127.0.0.1:1", "unix:///x")


def test_the_experimental_prefix_of_older_releases_is_understood() -> None:
    assert config_of("--experimental-watch-progress-notify-interval=1s").watch_progress_interval_s == 1


def test_listening_without_advertising_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        config_of("--listen-client-urls=http://127.0.0.1:1")
    assert str(caught.value) == "--advertise-client-urls is required when --listen-client-urls is set explicitly"


@pytest.mark.parametrize(
    "argv",
    [
        "--cert-file=/x", "--client-cert-auth", "--auto-tls", "--peer-auto-tls", "--discovery=http://x:1",
        "--listen-metrics-urls=http://127.0.0.1:1", "--auth-token=jwt,sign-method=HS256", "--force-new-cluster",
    ],
)  # fmt: skip
def test_what_this_server_does_not_have_is_refused_and_not_ignored(argv: str) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        config_of(argv)


def test_an_unknown_token_type_has_etcds_text() -> None:
    with pytest.raises(ConfigError, match="auth: invalid auth options"):
        config_of("--auth-token=magic")


def test_every_flag_may_be_given_with_its_default() -> None:
    config_of(*(f"--{flag.name}={flag.default}" for flag in FLAGS.values() if flag.default))


def test_every_flag_that_sets_a_field_has_the_fields_default() -> None:
    plain = ServerConfig()
    for flag in FLAGS.values():
        if flag.support is Support.SET:
            value = flags.read_value(flag, flag.default)
            shown = value * flag.scale if isinstance(value, float) else value
            assert shown == getattr(plain, flag.field), flag.name


def test_what_follows_the_flags_is_handed_back() -> None:
    assert flags.split(["--name=x", "extra"])[1] == ["extra"]
    assert flags.split(["--", "--name=x"])[1] == ["--name=x"]


def test_the_help_names_every_flag_once() -> None:
    text = flags.usage()
    for flag in FLAGS.values():
        if flag.support is Support.SET:
            assert text.count(f"--{flag.name} ") == 1, flag.name


# --- environment


def test_the_environment_sets_what_the_command_line_does_not() -> None:
    found, warnings = environment.from_environment({}, {"ETCD_NAME": "x", "ETCD_UNSAFE_NO_FSYNC": "true", "HOME": "/"})
    assert found == {"name": "x", "unsafe-no-fsync": "true"}
    assert warnings == []


def test_the_environment_knows_the_experimental_names_too() -> None:
    name = "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL"
    assert environment.from_environment({}, {name: "1s"})[0] == {"watch-progress-notify-interval": "1s"}


def test_a_variable_that_a_flag_would_hide_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        environment.from_environment({"name": "x"}, {"ETCD_NAME": "x"})
    assert str(caught.value).startswith(
        'conflicting environment variable "ETCD_NAME" is shadowed by corresponding command-line flag'
    )


def test_an_unknown_variable_is_a_warning() -> None:
    found, warnings = environment.from_environment({}, {"ETCD_NONSENSE": "1", "ETCDCTL_API": "3"})
    assert found == {}
    assert warnings == ['unrecognized environment variable "ETCD_NONSENSE=1"']


# --- configuration file


def read(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "etcd.yml"
    path.write_text(text)
    return config_file.from_file(str(path))


def test_a_file_uses_the_names_of_the_flags(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "name: x\nmax-txn-ops: 4\nunsafe-no-fsync: true\nlog-outputs: [stderr, /dev/null]\n"
        "listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\nadvertise-client-urls: http://127.0.0.1:1\n"
        "watch-progress-notify-interval: 1000000000\nnonsense: 3\n",
    )
    made = flags.build(found)
    assert (made.name, made.max_txn_ops, made.unsafe_no_fsync) == ("x", 4, True)
    assert made.log_outputs == ("stderr", "/dev/null")
    assert made.listen_client_urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert made.watch_progress_interval_s == 1


def test_a_file_may_be_json(tmp_path: Path) -> None:
    assert read(tmp_path, '{"name": "x", "quota-backend-bytes": 7}') == {"name": "x", "quota-backend-bytes": "7"}


def test_certificates_in_a_file_are_refused_like_flags(tmp_path: Path) -> None:
    found = read(tmp_path, "client-transport-security:\n  cert-file: /x\n  auto-tls: false\n")
    assert found == {"cert-file": "/x", "auto-tls": "false"}
    with pytest.raises(ConfigError, match="--cert-file"):
        flags.build(found)


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", "just text"])
def test_a_file_that_is_no_map_of_settings(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="config-file"):
        read(tmp_path, text)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\x7fELF\xd0")
    with pytest.raises(ConfigError, match="cannot read --config-file"):
        config_file.from_file(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read --config-file"):
        config_file.from_file(str(tmp_path / "none"))


def test_a_bad_value_in_a_file_is_a_start_failure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max-txn-ops"):
        flags.build(read(tmp_path, "max-txn-ops: many\n"))
