"""Text: line ends, leftovers, names of files, suppressions without a reason, places of one machine, foreign hosts."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.style.sources import ROOT, Source, python_files, report, sample, text_files

HERE = Path("tests/style/test_text.py")

LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w./])/(home|root|Users|work|opt|mnt)/\w+")
URL_HOST = re.compile(r"https?://([\w.-]+\.[a-z]{2,})\b")
HOSTS = {
    "etcd.io",
    "github.com",
    "grpc.io",
    "protobuf.dev",
    "peps.python.org",
    "docs.python.org",
    "pypi.org",
    "raft.github.io",
    "www.apache.org",
}
RESERVED_HOSTS = re.compile(r"(^|\.)(example|example\.(com|org|net)|test|invalid|localhost|local|internal|svc)$")
SUPPRESSION = re.compile(
    r"#\s*(type:\s*ignore|noqa|pyright:\s*ignore)"
    r"(?P<code>\[[\w, -]+\]|:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?"
    r"(?P<reason>.*)$"
)
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "stuff"}
ABOUT_THE_CHANGE = re.compile(
    r"#.*\b(refactored|renamed from|moved from|was changed|as requested|for now|new version of)\b"
)


def text_offences(path: Path, text: str) -> Iterator[str]:
    if text and not text.endswith("\n"):
        yield f"{path}: does not end with a newline"
    if text.endswith("\n\n"):
        yield f"{path}: ends with empty lines"
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        if line != line.rstrip():
            yield f"{where}: blanks at the end of the line"
        if "\t" in line and path.name != "Makefile":
            yield f"{where}: tab"
        if path != HERE:
            if found := LEFTOVERS.search(line):
                yield f"{where}: {found[0]} - do it, or leave it out"
            if found := MACHINE_PATHS.search(line):
                yield f"{where}: {found[0]} is a place of one machine"
            for host in URL_HOST.findall(line):
                if host not in HOSTS and not RESERVED_HOSTS.search(host):
                    yield f"{where}: {host} is not among the known hosts of tests/style/test_text.py"


def suppression_offences(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        found = SUPPRESSION.search(line)
        if found and source.path != HERE:
            if not found["code"]:
                yield f"{source.path}:{number}: suppresses every message - name the one"
            elif len(found["reason"].strip(" -#")) < 8:
                yield f"{source.path}:{number}: suppression without a reason"
        if ABOUT_THE_CHANGE.search(line) and source.path != HERE:
            yield f"{source.path}:{number}: a comment tells what is, not how it came about"


def test_text():
    report([offence for path in text_files() for offence in text_offences(path, (ROOT / path).read_text())])


def test_suppressions():
    report([offence for source in python_files() for offence in suppression_offences(source)])


def test_file_names():
    report([f"{source.path}: name the noun" for source in python_files() if source.path.stem in VAGUE_NAMES])


def test_lint_exceptions_have_reasons():
    configuration = (ROOT / "pyproject.toml").read_text()
    ignored = tomllib.loads(configuration)["tool"]["ruff"]["lint"]["ignore"]
    report([code for code in ignored if not re.search(rf'"{code}", # .{{10}}', configuration)])


def test_the_rules_can_fail():
    path = Path("x.py")
    assert list(text_offences(path, "x = 1"))
    assert list(text_offences(path, "x = 1 \n"))
    assert list(text_offences(path, "# TODO\n"))
    assert list(text_offences(path, "open('/home/me/x')\n"))
    assert list(text_offences(path, "# https://nowhere.xyz/\n"))
    assert not list(text_offences(path, "# https://etcd.io/docs http://a.example.com http://127.0.0.1:1\n"))
    assert list(suppression_offences(sample("x = 1  # type: ignore\n")))
    assert list(suppression_offences(sample("x = 1  # noqa: E501\n")))
    assert not list(suppression_offences(sample("x = 1  # noqa: E501 - a table is read by columns\n")))
    assert list(suppression_offences(sample("x = 1  # refactored\n")))
