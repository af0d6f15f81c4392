"""The documents say what the code says: errors, flags, differences, commands; and their links lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer.main

from coord import errors
from coord.cli.main import app
from coord.errors import CoordError
from coord.server.settings.flag_table import FLAGS, Support
from coord.wire.methods import METHODS
from tests.conformance.differences import CRASH, DIFFERENCES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(document: str, heading: str) -> list[str]:
    """The lines of the table whose head begins like this."""
    lines = text(document).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(heading))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(line)
    return found


def test_every_error_is_in_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoordError)]
    expected = [
        f"| `{kind.__name__}` | {', '.join(base.__name__ for base in kind.__bases__)} | {_yes(kind.retryable)} "
        f"| {_yes(kind.outcome_known)} | {' '.join((inspect.getdoc(kind) or '').split(chr(10) * 2)[0].split())} |"
        for kind in kinds
    ]
    assert rows("docs/client.md", "| error |") == expected


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def test_every_flag_is_in_the_table() -> None:
    expected = [
        f"| `--{flag.name}` | {f'`{flag.default}`' if flag.default else ''} | {flag.text} |"
        for flag in FLAGS.values()
        if flag.text
    ]
    assert rows("docs/server.md", "| flag |") == expected


@pytest.mark.parametrize(
    ("support", "words"),
    [(Support.ACCEPTED, "Accepted for etcd's sake"), (Support.REFUSED, "Refused unless they have their default")],
)
def test_flags_without_effect_are_named(support: Support, words: str) -> None:
    paragraph = next(each for each in text("docs/server.md").split("\n\n") if each.startswith(words))
    named = re.findall(r"`([a-z0-9-]+)`", paragraph)
    assert named == [flag.name for flag in FLAGS.values() if flag.support is support and not flag.text]


def test_every_difference_is_in_the_table() -> None:
    def shown(answer: object) -> str:
        if isinstance(answer, frozenset):
            return f"{len(answer)} methods"
        return "the process dies" if answer is CRASH else str(answer)

    assert rows("docs/server.md", "| case |") == [
        f"| {each.case} | {shown(each.bundled)} | {shown(each.etcd34)} | {shown(each.etcd35)} | {each.why} |"
        for each in DIFFERENCES
    ]


def test_what_is_not_served_is_named() -> None:
    missing = next(each for each in DIFFERENCES if each.case == "methods: not served").bundled
    assert missing <= METHODS.keys()
    said = text("docs/server.md") + text("README.md").lower()
    for path in missing:
        service, _, method = path.rpartition("/")
        if not service.endswith(("Auth", "Lock", "Election")) and not method.startswith("Member"):
            assert method in said, f"docs/server.md does not say that {method} is not served"


def test_every_command_and_option_is_described() -> None:
    page = text("docs/cli.md")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for name, command in commands.items():
        assert re.search(rf"^## coord .*\b{name}\b", page, re.M), f"docs/cli.md has no section on coord {name}"
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and name != "server":
                    assert option in page, f"docs/cli.md does not mention {option} of coord {name}"
    for parameter in typer.main.get_command(app).params:
        for option in parameter.opts:
            assert option in page or option == "--write-out", f"docs/cli.md does not mention {option}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{path.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = text("docs/README.md")
    for path in (ROOT / "docs").rglob("*.md"):
        name = str(path.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"({name})" in index, f"docs/README.md does not link {name}"
