"""Files as the COORD_FILES* variables ask for; see `coord.server.storage.files.files_from_environment`."""

from __future__ import annotations

from collections.abc import Mapping

from coord.server.storage.errors import FilesMisconfigured
from coord.server.storage.faults import Fault, FaultyFiles
from coord.server.storage.files import Files, RealFiles
from coord.server.storage.lossy import SKIPS, LossyFiles


def configured_files(environment: Mapping[str, str]) -> Files:
    """The files that the variables describe.

    Raises:
        FilesMisconfigured: a variable has no meaning, or a lossy one is set for real files.
    """
    mode = environment.get("COORD_FILES", "real")
    torn, skip = environment.get("COORD_FILES_TORN", ""), environment.get("COORD_FILES_SKIP", "")
    files: Files
    if mode == "lossy":
        files = LossyFiles(_seed(torn), _skips(skip))
    elif mode != "real":
        raise FilesMisconfigured(f"COORD_FILES={mode!r} is neither real nor lossy")
    elif torn or skip:
        # A stray variable must never take the syncs from a server that keeps real data.
        raise FilesMisconfigured("COORD_FILES_TORN and COORD_FILES_SKIP have a meaning only with COORD_FILES=lossy")
    else:
        files = RealFiles()
    fault = environment.get("COORD_FILES_FAULT", "")
    return FaultyFiles(files, Fault.parse(fault)) if fault else files


def _seed(text: str) -> int | None:
    if text and not text.isdigit():
        raise FilesMisconfigured(f"COORD_FILES_TORN={text!r} is no number")
    return int(text) if text else None


def _skips(text: str) -> frozenset[str]:
    names = frozenset(filter(None, text.split(",")))
    if names - SKIPS:
        raise FilesMisconfigured(f"COORD_FILES_SKIP={text!r} names none of {', '.join(sorted(SKIPS))}")
    return names
