"""What a writer of the durability test does, step by step, and what its keys then hold.

A writer's steps are proposed in order, so they are applied in order: after any crash its keys must be exactly what some
number of its first steps leave behind, and that number is at least what was acknowledged. Every step writes its own
number somewhere, so the number can be read off the keys.
"""

from __future__ import annotations

from typing import Any

from coord.wire.rpc_pb2 import DeleteRangeRequest, PutRequest, RequestOp, TxnRequest

KINDS = 6
LARGE_EVERY = 29
LARGE = 12_000
LEASE = 77
"""What every writer's key "single" is attached to."""


def value_of(step: int) -> bytes:
    """The value that `step` writes: its number, and now and then a lot behind it."""
    text = b"%d:" % step
    return text + b"x" * LARGE if step % LARGE_EVERY == 0 else text


def step_of(value: bytes) -> int:
    """The step that wrote `value`, -1 if no step writes that."""
    head = value.partition(b":")[0]
    step = int(head) if head.isdigit() else -1
    return step if step > 0 and value == value_of(step) else -1


def request(writer: int, step: int) -> dict[str, Any]:
    """The proposal of one step."""
    value = value_of(step)
    kind = step % KINDS
    if kind == 0:
        return {"txn": TxnRequest(success=[_put(writer, name, value) for name in (b"a", b"b", b"c")])}
    if kind == 1:
        return {"put": PutRequest(key=_key(writer, b"single"), value=value, lease=LEASE)}
    if kind == 2:
        gone = _delete(writer, b"moving/%d" % (step - KINDS))
        return {"txn": TxnRequest(success=[_put(writer, b"moving/%d" % step, value), gone])}
    if kind == 3:
        return {"put": PutRequest(key=_key(writer, b"ring/%d" % (step // KINDS % 7)), value=value)}
    if kind == 4:
        swept = RequestOp(
            request_delete_range=DeleteRangeRequest(key=_key(writer, b"ring/"), range_end=_key(writer, b"ring0"))
        )
        return {"txn": TxnRequest(success=[swept, _put(writer, b"swept", value)])}
    return {"txn": TxnRequest(failure=[_put(writer, b"never", value)], success=[_put(writer, b"chosen", value)])}


class Writer:
    """The keys of one writer after some number of steps, with the step that wrote each."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps = 0
        self.keys: dict[bytes, int] = {}

    def advance(self, steps: int) -> None:
        """Do the steps up to and including number `steps`."""
        for step in range(self.steps + 1, steps + 1):
            self._do(step)
        self.steps = steps

    def _do(self, step: int) -> None:
        keys, kind = self.keys, step % KINDS
        if kind == 0:
            for name in (b"a", b"b", b"c"):
                keys[_key(self.number, name)] = step
        elif kind == 1:
            keys[_key(self.number, b"single")] = step
        elif kind == 2:
            keys[_key(self.number, b"moving/%d" % step)] = step
            keys.pop(_key(self.number, b"moving/%d" % (step - KINDS)), None)
        elif kind == 3:
            keys[_key(self.number, b"ring/%d" % (step // KINDS % 7))] = step
        elif kind == 4:
            for key in [key for key in keys if key.startswith(_key(self.number, b"ring/"))]:
                del keys[key]
            keys[_key(self.number, b"swept")] = step
        else:
            keys[_key(self.number, b"chosen")] = step


class Loss(AssertionError):
    """The checker found that a restart lost or tore something."""


class Checker:
    """What was acknowledged, over any number of crashes."""

    def __init__(self, writers: int) -> None:
        self.writers = [Writer(number) for number in range(writers)]
        self.acknowledged = [0] * writers
        self.checked = 0

    def acknowledge(self, writer: int, step: int) -> None:
        """The server answered this step.

        Raises:
            Loss: the steps before it were not answered.
        """
        if step != self.acknowledged[writer] + 1:
            raise Loss(f"writer {writer}: step {step} was acknowledged after {self.acknowledged[writer]}")
        self.acknowledged[writer] = step

    def recovered(self, found: dict[bytes, int], attached: set[bytes]) -> None:
        """A restarted server holds `found` (key to step), and its lease has `attached`.

        Raises:
            Loss: that is not what some acknowledged and perhaps some later steps leave.
        """
        known = {b"w%d/" % writer.number for writer in self.writers}
        for key in found:
            if key[: key.index(b"/") + 1] not in known:
                raise Loss(f"a key from nowhere: {key!r}")
        for writer in self.writers:
            self._check(writer, found)
        leased = {key for key in found if key.endswith(b"/single")}
        if attached != leased:
            raise Loss(f"the lease has {sorted(attached)}, but {sorted(leased)} exist")
        self.checked += 1

    def _check(self, writer: Writer, found: dict[bytes, int]) -> None:
        prefix = b"w%d/" % writer.number
        mine = {key: step for key, step in found.items() if key.startswith(prefix)}
        steps, told = max(mine.values(), default=0), self.acknowledged[writer.number]
        if steps < told:
            raise Loss(f"writer {writer.number}: step {told} was acknowledged, but only {steps} are there")
        writer.advance(steps)
        if mine != writer.keys:
            differing = sorted(key for key in mine.keys() | writer.keys.keys() if mine.get(key) != writer.keys.get(key))
            raise Loss(f"writer {writer.number}: after step {steps} these keys are wrong: {differing}")
        self.acknowledged[writer.number] = steps


def _key(writer: int, name: bytes) -> bytes:
    return b"w%d/%b" % (writer, name)


def _put(writer: int, name: bytes, value: bytes) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=_key(writer, name), value=value))


def _delete(writer: int, name: bytes) -> RequestOp:
    return RequestOp(request_delete_range=DeleteRangeRequest(key=_key(writer, name)))
