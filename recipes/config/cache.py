"""The file of the last good state: what a program starts with when no server answers."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("coord.config")


class Cache:
    """One file, replaced as a whole; only its owner may read it, since settings have secrets.

    Args:
        path: the file; its folder must exist.
        prefix: the prefix of the configuration, without the client's namespace.
    """

    def __init__(self, path: str | os.PathLike[str], prefix: bytes) -> None:
        self.path = Path(path)
        self._prefix = prefix.decode("utf-8", "backslashreplace")
        self._saved: Mapping[str, str] | None = None
        self._told = False

    def save(self, texts: Mapping[str, str], revision: int) -> None:
        """Write the last good state; what hinders it is told once, since the program can go on."""
        if texts is self._saved:
            return
        document = {"prefix": self._prefix, "revision": revision, "state": dict(texts)}
        try:
            self._write(json.dumps(document, indent=1).encode())
        except OSError as error:
            if not self._told:
                logger.error("the last good configuration cannot be written to %s: %s", self.path, error)
            self._told = True
        else:
            self._saved, self._told = texts, False

    def _write(self, content: bytes) -> None:
        number, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self) -> tuple[dict[str, str], int] | None:
        """The last good state and its revision; None if there is no file that says so."""
        try:
            found: Any = json.loads(self.path.read_bytes())
            if found["prefix"] != self._prefix:
                logger.error("%s holds the configuration below %r, not %r", self.path, found["prefix"], self._prefix)
                return None
            return {str(path): str(text) for path, text in found["state"].items()}, int(found["revision"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.error("%s is no file of a last good configuration: %r", self.path, error)
            return None
