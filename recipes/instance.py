"""One instance of a service, and the key that stands for it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

from coord.errors import UsageError
from coord.model import KeyValue

ROOT: Final = b"coord/services/"

_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, slots=True)
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
    """

    service: str
    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    zone: str = ""
    revision: int = 0

    def __hash__(self) -> int:
        return hash((self.service, self.id))

    @property
    def key(self) -> bytes:
        """Its key."""
        return service_prefix(self.service) + self.id.encode()

    def encode(self) -> bytes:
        """The value that is stored."""
        facts = {
            "address": self.address,
            "metadata": dict(self.metadata),
            "weight": self.weight,
            "zone": self.zone,
        }
        return json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()


def new_instance(
    service: str,
    address: str,
    *,
    metadata: Mapping[str, str] | None = None,
    weight: int = 1,
    zone: str = "",
    id: str | None = None,  # noqa: A002  # the name that the value has
) -> Instance:
    """An instance with checked fields and, if none is given, an id that nobody has.

    Raises:
        UsageError: a field cannot be stored.
    """
    if not service or not address:
        raise UsageError("a service needs a name, and an instance an address")
    if isinstance(weight, bool) or not isinstance(weight, int) or weight < 0:
        raise UsageError(f"the weight is a whole number from 0 on, not {weight!r}")
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(f"metadata are text, not {name!r}: {value!r}")
    if id is not None and not _ID.fullmatch(id):
        raise UsageError(f"an id is up to 128 letters, digits, '.', '_', '~' and '-', not {id!r}")
    return Instance(service, id or secrets.token_hex(8), address, dict(metadata or {}), weight, zone)


def service_prefix(service: str) -> bytes:
    """What the keys of a service's instances begin with; of all services if it is empty.

    The name is quoted, so that "orders" and "orders/eu" are two services and neither sees the other's instances.
    """
    return ROOT + (quote(service, safe="").encode() + b"/" if service else b"")


def parse_instance(item: KeyValue) -> Instance | None:
    """The instance that a stored key stands for; None if it is none, since anybody may have written it."""
    service, slash, name = item.key.removeprefix(ROOT).partition(b"/")
    if not item.key.startswith(ROOT) or not slash or not _ID.fullmatch(name.decode("ascii", "replace")):
        return None
    try:
        facts: Any = json.loads(item.value)
        return Instance(
            unquote(service.decode("ascii")),
            name.decode("ascii"),
            str(facts["address"]),
            {str(key): str(value) for key, value in facts.get("metadata", {}).items()},
            int(facts.get("weight", 1)),
            str(facts.get("zone", "")),
            item.create_revision,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
