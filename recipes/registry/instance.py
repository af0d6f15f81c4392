"""One instance of a service, and the key that stands for it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

from coord.errors import UsageError
from coord.model import KeyValue

ROOT: Final = b"coord/services/"

UP: Final = "up"
UNHEALTHY: Final = "unhealthy"
LEAVING: Final = "leaving"

_PARSED: Final[WeakValueDictionary[tuple[bytes, bytes, int], Instance]] = WeakValueDictionary()

_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Instance:
    """One running instance of a service.

    Attributes:
        service: name of the service.
        id: unique among the instances of the service.
        address: where it is reached; coord does not look into it.
        metadata: what it says of itself.
        weight: share of the load it takes, 0 for none at present.
        zone: where it runs, empty if it does not say.
        revision: create revision of its key; 0 before it is stored.
        state: UP; or why it takes no calls: UNHEALTHY, LEAVING, or what another version says.
    """

    service: str
    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    zone: str = ""
    revision: int = 0
    state: str = UP
    _report: Callable[[Instance], None] | None = field(default=None, repr=False, compare=False)

    def __hash__(self) -> int:
        return hash((self.service, self.id))

    def __reduce__(self) -> tuple[Any, ...]:
        # What it reports to stays here: other processes have views of their own.
        return (Instance, tuple(getattr(self, each.name) for each in fields(self) if each.compare))

    @property
    def takes_calls(self) -> bool:
        """True if it is to be given work."""
        return self.state == UP and self.weight > 0

    def failed(self) -> None:
        """Tell the view that picked it that a call to it failed, so that it is not picked for a while.

        Raises:
            UsageError: no view picked it.
        """
        if self._report is None:
            raise UsageError("only an instance that a view picked can fail; for others: view.failed(instance)")
        self._report(self)

    @property
    def key(self) -> bytes:
        """Its key."""
        return service_prefix(self.service) + self.id.encode()

    def encode(self) -> bytes:
        """The value that is stored."""
        facts: dict[str, object] = {
            "address": self.address,
            "metadata": dict(self.metadata),
            "weight": self.weight,
            "zone": self.zone,
        }
        if self.state != UP:
            facts["state"] = self.state
        return json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()


def new_instance(
    service: str,
    address: str,
    *,
    metadata: Mapping[str, str] | None = None,
    weight: int = 1,
    zone: str = "",
    id: str | None = None,  # noqa: A002  # the name that the value has
    state: str = UP,
) -> Instance:
    """An instance with checked fields and, if none is given, an id that nobody has.

    Raises:
        UsageError: a field cannot be stored.
    """
    _check_text("the name of a service", service)
    _check_text("an address", address)
    if not isinstance(zone, str):
        raise UsageError(f"a zone is text, not {zone!r}")
    _check_text("a state", state)
    if isinstance(weight, bool) or not isinstance(weight, int) or weight < 0:
        raise UsageError(f"the weight is a whole number from 0 on, not {weight!r}")
    said = checked_metadata(metadata)
    if id is not None and not (isinstance(id, str) and _ID.fullmatch(id)):
        raise UsageError(f"an id is up to 128 letters, digits, '.', '_', '~' and '-', not {id!r}")
    made = Instance(service, id or secrets.token_hex(8), address, said, weight, zone, 0, state)
    try:
        made.key, made.encode()  # only whether it can be done
    except UnicodeEncodeError as error:
        raise UsageError(f"an instance is stored as UTF-8, which this is not: {error}") from error
    return made


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """A copy of what an instance says of itself, or of what is asked of one.

    Raises:
        UsageError: it is no mapping of text to text.
    """
    if not isinstance(metadata, Mapping | None):
        raise UsageError(f"metadata are a mapping of text to text, not {metadata!r}")
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(f"metadata are text, not {name!r}: {value!r}")
    return dict(metadata or {})


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{what} is text, not {value!r}")
    if not value:
        raise UsageError(f"{what} is empty")


def service_prefix(service: str) -> bytes:
    """What the keys of a service's instances begin with; of all services if it is empty.

    The name is quoted, so that "orders" and "orders/eu" are two services and neither sees the other's instances.

    Raises:
        UsageError: the name is no text.
    """
    if not isinstance(service, str):
        raise UsageError(f"the name of a service is text, not {service!r}")
    try:
        return ROOT + (quote(service, safe="").encode() + b"/" if service else b"")
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of a service is stored as UTF-8, which {service!r} is not") from error


def parse_instance(item: KeyValue) -> Instance | None:
    """The instance that a stored key stands for; None if it is none, since anybody may have written it.

    Fields that are missing have their defaults, and unknown ones are left alone: other versions may write them. The
    same item gives the same object while anybody has it: a hundred views of ten thousand instances hold each once.
    """
    same = (item.key, item.value, item.create_revision)
    found = _PARSED.get(same)
    if found is None:
        found = _parse(item)
        if found is not None:
            _PARSED[same] = found
    return found


def _parse(item: KeyValue) -> Instance | None:
    try:
        if not item.key.startswith(ROOT):
            return None
        service, slash, name = item.key.removeprefix(ROOT).decode("ascii").partition("/")
        if not slash or not _ID.fullmatch(name):
            return None
        facts: Any = json.loads(item.value)
        found = new_instance(
            unquote(service, errors="strict"),
            facts["address"],
            metadata=facts.get("metadata", {}),
            weight=facts.get("weight", 1),
            zone=facts.get("zone", ""),
            id=name,
            state=facts.get("state", UP),
        )
    # What a stranger wrote may also be nested too deeply, or be anything else than an object.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    # Two ways to quote one name would be two keys for one instance.
    return replace(found, revision=item.create_revision) if found.key == item.key else None
