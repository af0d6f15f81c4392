"""What a configuration stores: its fields below the prefix, and its history below one of its own. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from coord.errors import UsageError
from coord.keys import prefix_end, to_bytes
from coord.model import KeyValue

ROOT: Final = b"coord/"
HISTORY: Final = ROOT + b"config/"
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """The two ranges of keys of one configuration.

    Attributes:
        prefix: what the keys of its fields begin with.
        history: what the keys of its history begin with.
    """

    prefix: bytes
    history: bytes

    @property
    def end(self) -> bytes:
        """Where the range of fields ends."""
        return prefix_end(self.prefix)

    @property
    def history_end(self) -> bytes:
        """Where the range of the history ends: behind all digits, which its keys end in."""
        return self.history + b":"

    def key(self, path: str) -> bytes:
        """The key of a field."""
        return self.prefix + path.encode("utf-8", "surrogateescape")

    def entry(self, number: int) -> bytes:
        """The key of an entry in the history; they sort by number."""
        return self.history + f"{number:0{_DIGITS}d}".encode()

    def number(self, key: bytes) -> int:
        """The number of an entry, 0 if the key is no entry's."""
        digits = key.removeprefix(self.history)
        return int(digits) if len(digits) == _DIGITS and digits.isdigit() else 0

    def path(self, key: bytes) -> str | None:
        """The path of the field that a key stands for; None if it is none, since anybody may have written it."""
        try:
            path = key.removeprefix(self.prefix).decode()
        except UnicodeDecodeError:
            return None
        return path if all(path.split("/")) else None

    def texts(self, items: Iterable[KeyValue]) -> dict[str, str]:
        """The stored texts by path. Bytes that are no UTF-8 come through, to be refused by who understands fields."""
        return {
            path: item.value.decode("utf-8", "surrogateescape")
            for item in items
            if (path := self.path(item.key)) is not None
        }


def place_of(prefix: str | bytes) -> Place:
    """Where the configuration with this prefix is stored; a slash at its end is added.

    Raises:
        UsageError: the prefix is empty, or the recipes' own.
    """
    found = to_bytes(prefix).rstrip(b"/") + b"/"
    if found == b"/":
        raise UsageError("the prefix of a configuration is empty: all keys of the store would be its fields")
    if found.startswith(ROOT):
        raise UsageError(f"{prefix!r}: below coord/ is what coord's recipes store")
    return Place(found, HISTORY + quote(found, safe="").encode() + b"/")


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of a configuration, as its history keeps it.

    Attributes:
        revision: revision of the store at which it became so.
        time: wall clock seconds of who wrote it; shown to people, never compared.
        author: who wrote it; empty for what was found there, written by others than coord.
        changed: the fields that were changed, by path.
        texts: the stored text of every field, by path.
    """

    revision: int
    time: float
    author: str
    changed: tuple[str, ...]
    texts: Mapping[str, str]

    def __hash__(self) -> int:
        return hash(self.revision)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who changes a configuration, when; `id` tells this change from all others."""

    id: str
    author: str
    time: float


def encode_entry(stamp: Stamp, changed: Iterable[str], texts: Mapping[str, str], found_at: int = 0) -> bytes:
    """The value of an entry. One that was found there says at which revision; otherwise that is the key's own."""
    facts: dict[str, Any] = {
        "id": stamp.id,
        "time": round(stamp.time, 3),
        "author": stamp.author,
        "changed": sorted(changed),
        "state": dict(texts),
    }
    if found_at:
        facts |= {"id": "", "author": "", "found": found_at}
    return json.dumps(facts, separators=(",", ":")).encode()


def parse_entry(item: KeyValue) -> Entry | None:
    """The entry that a key of the history stands for; None if it is none, since anybody may have written it."""
    try:
        facts = json.loads(item.value)
        texts, changed = facts["state"], facts["changed"]
        if not all(isinstance(text, str) for text in (*texts.values(), *changed, facts["author"])):
            return None
        revision = int(facts.get("found", 0)) or item.mod_revision
        return Entry(revision, float(facts["time"]), facts["author"], tuple(changed), dict(texts))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def wrote(item: KeyValue, stamp: Stamp) -> bool:
    """True if this key of the history was written by the change with this stamp."""
    try:
        return bool(json.loads(item.value)["id"] == stamp.id)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def changed_fields(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """The paths at which two states differ."""
    return tuple(sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)))
