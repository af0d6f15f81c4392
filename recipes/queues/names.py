"""The keys of one queue, and where a job stands in it.

Two things must not be mixed up. A job's *order* is the revision that put it (or that made it due). Its *slot* is the
end of its key, ``<revision>-<id>`` with a revision that its producer had seen before; so it is never larger than the
order, and a page of the smallest slots is enough to know which jobs are first (see `coord.recipes.queues.page`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from coord.errors import UsageError
from coord.keys import prefix_end
from coord.model import KeyValue

ROOT: Final = b"coord/queues/"
NORMAL: Final = 100
"""The priority of a job that was put without one; 0 is first and 255 last."""
LAST_PRIORITY: Final = 255


class Names:
    """The keys of one queue; `queue` is its name as it was given."""

    def __init__(self, queue: str) -> None:
        # Quoted, so that "mail" and "mail/eu" are two queues and neither sees the other's jobs.
        self.root: Final = ROOT + _quoted("the name of a queue", queue) + b"/"
        self.queue: Final = queue
        self.jobs: Final = self.root + b"jobs/"
        self.ready: Final = self.root + b"ready/"
        self.later: Final = self.root + b"later/"
        self.dead: Final = self.root + b"dead/"
        self.taken: Final = self.root + b"taken/"
        self.taken_jobs: Final = self.taken + b"job/"
        self.takers: Final = self.taken + b"by"
        self.line: Final = self.root + b"line"
        self.producers: Final = self.root + b"puts"
        self.room: Final = self.root + b"room"
        self.returns: Final = self.root + b"returns"
        self.fades: Final = self.root + b"fades/"
        self.gate: Final = self.root + b"gate"

    def job(self, job: str) -> bytes:
        """What was put."""
        return self.jobs + job.encode()

    def taken_job(self, job: str) -> bytes:
        """Who has a job."""
        return self.taken_jobs + job.encode()

    def taker(self, suffix: str) -> bytes:
        """The leased key of who has a job."""
        return self.takers + b"/" + suffix.encode()

    def ready_at(self, standing: Standing) -> bytes:
        """Where a job waits to be taken."""
        return self.ready + standing.slot.encode()

    def priority(self, priority: int) -> bytes:
        """What the slots of one priority begin with."""
        return self.ready + b"%02x/" % priority

    def later_at(self, due: float, job: str) -> bytes:
        """Where a job waits for its time."""
        return self.later + b"%016x-%s" % (milliseconds(due), job.encode())

    def due_of(self, key: bytes) -> int | None:
        """When the job at a key of ``later/`` is due, in milliseconds of the wall clock; None for other keys."""
        due, dash, _ = key.removeprefix(self.later).partition(b"-")
        if not (key.startswith(self.later) and dash and len(due) == 16):
            return None
        try:
            return int(due, 16)
        except ValueError:
            return None

    def seen(self, key: str) -> bytes:
        """What was put under a key, as long as that is remembered."""
        return self.root + b"seen/" + _quoted("a key", key)

    def fade_at(self, until: int, key: str) -> bytes:
        """Says until when that is."""
        return self.fades + b"%016x-%s" % (until, _quoted("a key", key))

    def seen_of(self, fade: bytes) -> bytes:
        """What a key of ``fades/`` stands for."""
        return self.root + b"seen/" + fade.removeprefix(self.fades)[17:]

    def task(self, task: str) -> bytes:
        """The job that was put as a task of that name."""
        return self.root + b"tasks/" + _quoted("the name of a task", task)

    def dead_at(self, job: str) -> bytes:
        """Where a job lies that was tried too often."""
        return self.dead + job.encode()


def _quoted(what: str, name: str) -> bytes:
    if not isinstance(name, str):
        raise UsageError(f"{what} is text, not {name!r}")
    if not name:
        raise UsageError(f"{what} is empty")
    try:
        return quote(name, safe="").encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is stored as UTF-8, which {name!r} is not") from error


def milliseconds(instant: float) -> int:
    """An instant of the wall clock as it is stored, never before its time."""
    return max(0, -int(-instant * 1000 // 1))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands.

    Attributes:
        job: its id.
        priority: 0 for first to 255 for last.
        seen: the revision in its slot, never larger than `order`.
        order: the revision that its place follows from; 0 for the create revision of its key in ``ready/``.
        due: milliseconds of the wall clock before which it was not to be taken, 0 for none.
        tries: how often it was taken.
    """

    job: str
    priority: int = NORMAL
    seen: int = 0
    order: int = 0
    due: int = 0
    tries: int = 0

    @property
    def slot(self) -> str:
        """The end of its key in ``ready/``."""
        return f"{self.priority:02x}/{self.seen:016x}-{self.job}"

    @property
    def place(self) -> tuple[int, int, int, str]:
        """What jobs are sorted by."""
        return (self.priority, self.order, self.due, self.job)

    def facts(self) -> dict[str, Any]:
        """What is stored with the job."""
        return {
            "slot": self.slot,
            "order": self.order,
            "due": self.due,
            "tries": self.tries,
        }

    def encode(self, **more: Any) -> bytes:
        """`facts`, and more of them, as they are stored."""
        return json.dumps(self.facts() | more, separators=(",", ":"), ensure_ascii=False).encode()

    def ready_value(self) -> bytes:
        """What is stored in ``ready/``; nothing for a job that was just put."""
        if not (self.order or self.due or self.tries):
            return b""
        facts = {"order": self.order, "due": self.due, "tries": self.tries}
        return json.dumps(facts, separators=(",", ":")).encode()


def parse_slot(slot: str) -> Standing | None:
    """The standing that a slot tells; None if it is none."""
    priority, slash, rest = slot.partition("/")
    seen, dash, job = rest.partition("-")
    if not (slash and dash and job and len(priority) == 2 and len(seen) == 16):
        return None
    try:
        found = Standing(job, int(priority, 16), int(seen, 16))
    except ValueError:
        return None
    return found if found.slot == slot else None


def parse_ready(names: Names, item: KeyValue) -> Standing | None:
    """The job that waits at a key of ``ready/``; None if it is none, since anybody may have written it."""
    try:
        found = parse_slot(item.key.removeprefix(names.ready).decode("ascii"))
        if found is None:
            return None
        facts = json.loads(item.value) if item.value else {}
        order, due, tries = (int(facts.get(name, 0)) for name in ("order", "due", "tries"))
    except (ValueError, AttributeError, TypeError):
        return None
    return replace(found, order=order or item.create_revision, due=due, tries=tries)


def parse_facts(value: bytes) -> tuple[Standing, dict[str, Any]] | None:
    """The standing in ``taken/job/``, ``later/`` or ``dead/``, and what else stands there; None if it is none."""
    try:
        facts: Any = json.loads(value)
        found = parse_slot(facts["slot"])
        if found is None:
            return None
        order, due, tries = int(facts["order"]), int(facts["due"]), int(facts["tries"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return replace(found, order=order, due=due, tries=tries), facts


@dataclass(frozen=True, slots=True)
class Content:
    """What was put: ``jobs/<id>``.

    Attributes:
        value: the bytes that the producer gave.
        facts: what is known of the put: since (wall clock seconds), host, pid, task, and names it was put under.
    """

    value: bytes
    facts: dict[str, Any]

    def encode(self) -> bytes:
        """Facts as JSON on the first line, the value behind it."""
        return json.dumps(self.facts, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" + self.value


def parse_content(stored: bytes) -> Content:
    """What was put; the whole as the value if it has no first line of ours."""
    head, newline, value = stored.partition(b"\n")
    try:
        facts = json.loads(head)
    except ValueError:
        facts = None
    if not newline or not isinstance(facts, dict):
        return Content(stored, {})
    return Content(value, facts)


def all_of(prefix: bytes) -> tuple[bytes, bytes]:
    """Begin and end of the keys that begin with `prefix`."""
    return prefix, prefix_end(prefix)
