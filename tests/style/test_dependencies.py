"""Every dependency has its reason in docs/dependencies.md, and nothing stands there that is not used."""

import re
import tomllib

from tests.style.sources import ROOT, report

NAME = re.compile(r"^[A-Za-z0-9._-]+")


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    found = {match[0].lower() for each in wanted if (match := NAME.match(each))}
    return found - {project["name"].lower()}


def explained() -> dict[str, str]:
    """Name and reason of each row of the tables."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    return {name.lower(): rest for name, rest in rows}


def test_each_dependency_has_a_reason():
    rows = explained()
    report([f"docs/dependencies.md does not explain {name}" for name in sorted(declared() - set(rows))])
    report([f"docs/dependencies.md says too little about {name}" for name, rest in rows.items() if len(rest) < 30])


def test_no_reason_without_dependency():
    tools = {"etcd-server", "etcd-client", "setuptools", "grpcio-tools"}  # not Python packages that are installed
    report([f"pyproject.toml does not name {name}" for name in sorted(set(explained()) - declared() - tools)])


def test_floors_are_those_of_the_project():
    """The first cell behind a name that is always installed is the lowest version that was tried."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = {match[1].lower(): match[2] for each in wanted if (match := re.match(r"([\w-]+)>=([\d.]+)", each))}
    assert len(floors) == len(wanted), "a dependency without a floor"
    stated = {name: explained()[name].split("|")[0].strip() for name in floors}
    assert stated == floors
