"""Reading a prefix page by page at one revision. Pure: says what to read next and takes what was read."""

from __future__ import annotations

from coord.errors import UsageError
from coord.model import KeyValue, RangeResult
from coord.ops import Get, span

PAGE = 1000
"""Keys in a page: at usual sizes a message of well under a megabyte, and a step of well under 10 ms for the server."""


class Pages:
    """Position in a scan.

    Attributes:
        revision: all pages show the state at this revision; 0 until the first page is there, if none was asked for.
    """

    def __init__(self, prefix: str | bytes, *, page: int, revision: int, serializable: bool, keys_only: bool) -> None:
        if page <= 0:
            raise UsageError("page must be positive")
        if revision < 0:
            raise UsageError("revision cannot be negative")
        self._next, self._end = span(prefix, prefix=True)
        self._page = page
        self._serializable = serializable
        self._keys_only = keys_only
        self._more = True
        self.revision = revision

    def request(self) -> Get | None:
        """The next read, None after the last."""
        if not self._more:
            return None
        return Get(
            self._next,
            self._end,
            limit=self._page,
            revision=self.revision,
            serializable=self._serializable,
            keys_only=self._keys_only,
        )

    def page(self, result: RangeResult) -> tuple[KeyValue, ...]:
        """Take a page and return its keys; later pages are read at the same revision."""
        self.revision = self.revision or result.header.revision
        self._more = result.more
        if result.items:
            # The least key behind the last one.
            self._next = result.items[-1].key + b"\x00"
        return tuple(result.items)
