"""The keys that recipes store: one table, since it is a wire format shared with other clients and other versions.

Rules for every recipe: keys that carry ownership hang on a lease; a key that a call creates for itself is used once
(``<lease hex>-<unique>``); a recipe that does not share Go's layout has a sub-prefix of its own; a namespace is only
prepended. docs/layout.md shows this table to users, and a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of stored key.

    Attributes:
        recipe: who stores it.
        key: form of the key; ``<lease>`` is the lease id in lower-case hex, ``<n>`` a number never used twice with it.
        value: what the value is.
        leased: True if the key hangs on the client's lease and goes with it.
        shared_with: other clients that understand it, empty for none.
    """

    recipe: str
    key: str
    value: str
    leased: bool
    shared_with: str


LAYOUT: Final = (
    Row(
        "lock",
        "<name>/<lease>-<n>",
        "owner as JSON: host, pid, task, since, client",
        True,
        "Go concurrency.Mutex, etcdctl lock, v3lock",
    ),
    Row(
        "election",
        "<name>/<lease>-<n>",
        "the candidate's value",
        True,
        "Go concurrency.Election, etcdctl elect, v3election",
    ),
    Row(
        "queue, job",
        "coord/queues/<queue>/jobs/<id>",
        "what is known of the put as JSON, a line feed, the value",
        False,
        "",
    ),
    Row(
        "queue, ready",
        "coord/queues/<queue>/ready/<priority>/<revision>-<id>",
        "empty, or as JSON: order, due, tries",
        False,
        "",
    ),
    Row(
        "queue, delayed",
        "coord/queues/<queue>/later/<due>-<id>",
        "as JSON: slot, order, due, tries",
        False,
        "",
    ),
    Row(
        "queue, taken",
        "coord/queues/<queue>/taken/job/<id>",
        "as JSON: by, slot, order, due, tries",
        False,
        "",
    ),
    Row(
        "queue, consumer",
        "coord/queues/<queue>/taken/by/<lease>-<n>",
        "the id of the job it has",
        True,
        "",
    ),
    Row(
        "queue, dead",
        "coord/queues/<queue>/dead/<id>",
        "as JSON: reason, slot, order, due, tries",
        False,
        "",
    ),
    Row(
        "queue, waiting",
        "coord/queues/<queue>/line/<lease>-<n>",
        "empty",
        True,
        "",
    ),
    Row(
        "queue, producer",
        "coord/queues/<queue>/puts/<lease>-<n>",
        "how many it put, in decimal",
        True,
        "",
    ),
    Row(
        "queue, returns",
        "coord/queues/<queue>/returns",
        "empty; written whenever a job comes back to its place",
        False,
        "",
    ),
    Row(
        "queue, key",
        "coord/queues/<queue>/seen/<key>",
        "as JSON: the job that was put under it, until when it is remembered",
        False,
        "",
    ),
    Row(
        "queue, key's end",
        "coord/queues/<queue>/fades/<until>-<key>",
        "empty",
        False,
        "",
    ),
    Row(
        "queue, room",
        "coord/queues/<queue>/room/<lease>-<n>",
        "empty",
        True,
        "",
    ),
    Row(
        "queue, gate",
        "coord/queues/<queue>/gate",
        "open or closed",
        False,
        "",
    ),
    Row(
        "queue, task",
        "coord/queues/<queue>/tasks/<task>",
        "the id of the job",
        False,
        "",
    ),
    Row(
        "rwlock, reader",
        "<name>/rw/r/<lease>-<n>",
        "owner as JSON, as for lock",
        True,
        "",
    ),
    Row(
        "rwlock, writer",
        "<name>/rw/w/<lease>-<n>",
        "owner as JSON, as for lock",
        True,
        "",
    ),
    Row(
        "semaphore",
        "<name>/sem/p/<lease>-<n>",
        "owner as JSON, as for lock",
        True,
        "",
    ),
    Row(
        "semaphore, permits",
        "<name>/sem/permits",
        "how many there are, in decimal",
        False,
        "",
    ),
    Row(
        "barrier",
        "<name>/barrier",
        "closed or open",
        False,
        "",
    ),
    Row(
        "latch",
        "<name>/latch/count",
        "what is left, and of how many: 2 of 3",
        False,
        "",
    ),
    Row(
        "latch, reached",
        "<name>/latch/done",
        "empty",
        False,
        "",
    ),
    Row(
        "latch, running call",
        "<name>/latch/calls/<lease>-<n>",
        "empty",
        True,
        "",
    ),
    Row(
        "double barrier",
        "<name>/double/<lease>-<n>",
        "empty, then: waits for 3, then: in with <lease>-<n> of one of them",
        True,
        "",
    ),
    Row(
        "registry",
        "coord/services/<service>/<id>",
        "instance as JSON: address, metadata, weight, zone, state if it takes no calls",
        True,
        "",
    ),
    Row(
        "config",
        "<prefix>/<field>",
        "the field as text, or as JSON if its type is no text",
        False,
        "whoever puts keys, etcdctl",
    ),
    Row(
        "config, history",
        "coord/config/<prefix>/<entry>",
        "entry as JSON: id, time, author, changed, state, found",
        False,
        "",
    ),
)

_OTHER_RECIPES: Final = re.compile(rb"(?:rw/[rw]|sem)/|latch/|double/|barrier\Z")

READERS: Final = b"rw/r"
WRITERS: Final = b"rw/w"
PERMITS: Final = b"sem/p"

_PARTS: Final = tuple(
    row.key.removeprefix("<name>/").removesuffix("/<lease>-<n>").encode()
    for row in LAYOUT
    if row.key.startswith("<name>/") and row.key.endswith("/<lease>-<n>") and row.key != "<name>/<lease>-<n>"
)

# Go prints a lease id with %x, so a negative one (they can be chosen freely) has a sign in front.
_CONTENDER: Final = re.compile(rb"-?[0-9a-f]{1,16}(?:-[0-9a-f]+)?")


def contender_prefix(name: bytes) -> bytes:
    """What the keys of all contenders for `name` begin with (as in Go)."""
    return name + b"/"


class PlaceIn(NamedTuple):
    """Which queue a key is a place in.

    Attributes:
        name: of the lock, or of whatever it is.
        part: what stands between the name and the place: `READERS`, say; empty for a lock or an election.
    """

    name: bytes
    part: bytes


def place_in(key: bytes, lease: int) -> PlaceIn | None:
    """What a key on that lease is a place in, None if it is none.

    A key that merely looks like one (``users/12``) is not on the lease that it names.
    """
    head, _, tail = key.rpartition(b"/")
    place = b"%x" % lease
    if not lease or not head or not (tail == place or tail.startswith(place + b"-")):
        return None
    if _CONTENDER.fullmatch(tail) is None:
        return None
    part = next((part for part in _PARTS if head.endswith(b"/" + part)), b"")
    return PlaceIn(head.removesuffix(b"/" + part) if part else head, part)


def readers_of(name: bytes) -> bytes:
    """What the places of readers stand under."""
    return name + b"/" + READERS


def writers_of(name: bytes) -> bytes:
    """What the places of writers stand under."""
    return name + b"/" + WRITERS


def both_of(name: bytes) -> bytes:
    """What the keys of all readers and writers begin with."""
    return name + b"/rw/"


def permits_of(name: bytes) -> bytes:
    """What the places of a semaphore stand under."""
    return name + b"/" + PERMITS


def permit_count_of(name: bytes) -> bytes:
    """The key that says how many permits a semaphore has."""
    return name + b"/sem/permits"


def barrier_of(name: bytes) -> bytes:
    """The key that says whether a barrier is closed."""
    return name + b"/barrier"


def latch_count_of(name: bytes) -> bytes:
    """The key that says what is left of a latch."""
    return name + b"/latch/count"


def latch_done_of(name: bytes) -> bytes:
    """The key that is there once nothing is left of a latch."""
    return name + b"/latch/done"


def latch_calls_of(name: bytes) -> bytes:
    """What the keys of running count-downs stand under."""
    return name + b"/latch/calls"


def double_of(name: bytes) -> bytes:
    """What the members of a double barrier stand under."""
    return name + b"/double"


def is_of_another_recipe(name: bytes, key: bytes) -> bool:
    """True if `key` is what another recipe of the same name stores."""
    prefix = contender_prefix(name)
    return key.startswith(prefix) and _OTHER_RECIPES.match(key, len(prefix)) is not None


def is_contender(name: bytes, key: bytes) -> bool:
    """True if `key` is a place in the queue for `name`: Go's ``<name>/<lease>`` or ours with ``-<n>`` behind it.

    Anything else under the name is somebody's data, or belongs to another name such as ``<name>/a``, and must neither
    block this queue nor be waited for.
    """
    prefix = contender_prefix(name)
    return key.startswith(prefix) and _CONTENDER.fullmatch(key, len(prefix)) is not None
