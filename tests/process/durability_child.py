"""A member under load, to be killed. What it tells on its standard output, a line each:

S <json>            once, before any load: what it recovered
A <writer> <step>   a step was acknowledged
R <writer> <text>   a proposal was refused (it is tried again)
E <text>            the member cannot go on, and dies next
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import os
import sys
import time
from functools import partial
from typing import Any

from coord.server.machine.apply import StateMachine
from coord.server.member.boot import BootRefused, LogSizes, Member, end_process, open_member
from coord.server.member.pending import Pending
from coord.server.settings.config import ServerConfig
from coord.server.storage.contract import Backend, Bucket
from coord.server.storage.lossy import LossyFile
from coord.statuses import Refused
from coord.wire.rpc_pb2 import CompactionRequest, LeaseGrantRequest, RangeRequest, RangeResponse
from tests.process.durability_model import LEASE, request, step_of

SHORT_LEASE = 5
"""What `--renew` keeps alive."""

DEPTH = 6
"""Steps of one writer under way at the same time."""


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def digest(backend: Backend) -> str:
    """One number for everything that the log alone decides."""
    total = hashlib.sha256()
    for bucket in (Bucket.KEY, Bucket.LEASE, Bucket.ALARM):
        for key, value in backend.scan(bucket):
            total.update(b"%b %d %b %d %b" % (bucket.value.encode(), len(key), key, len(value), value))
    return total.hexdigest()


def recovered(state: StateMachine, backend: Backend) -> dict[str, Any]:
    """What the parent checks."""
    everything = RangeResponse.FromString(state.range(RangeRequest(key=b"\0", range_end=b"\0")))
    attached = state.lessor.keys_of(LEASE) if LEASE in state.lessor else []
    return {
        "keys": {item.key.decode(): step_of(item.value) for item in everything.kvs},
        "attached": [key.decode() for key in attached],
        "digest": digest(backend),
        "revision": state.revision,
        "alarms": [alarm.alarm for alarm in state.alarms.get()],
    }


class Writer:
    """Proposes its steps in order, `DEPTH` at a time."""

    def __init__(self, member: Member, number: int, step: int) -> None:
        self._member = member
        self._number = number
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._open = 0

    def go(self) -> None:
        while self._open < DEPTH:
            try:
                pending = self._member.replica.propose(**request(self._number, self._step + 1))
            except Refused as refused:
                self._refused(refused)
                self._loop.call_later(0.01, self.go)
                return
            self._step += 1
            self._open += 1
            step = self._step
            pending.on_done(partial(self._done, step))

    def _done(self, step: int, pending: Pending[Any]) -> None:
        self._open -= 1
        if pending.error is None:
            tell(f"A {self._number} {step}")
            self._loop.call_soon(self.go)
        else:
            # By the log, and so will be all steps behind it: this writer is at its end.
            self._refused(pending.error)

    def _refused(self, error: BaseException) -> None:
        alarmed = " (alarm is set)" if self._member.state.alarms.get() else ""
        tell(f"R {self._number} {error}{alarmed}")


async def compact(member: Member) -> None:
    while True:
        await asyncio.sleep(0.05)
        behind = member.state.revision - 100
        if behind > member.state.compact_revision:
            await member.replica.propose(compaction=CompactionRequest(revision=behind))


async def renew(member: Member) -> None:
    """Keep a short lease alive."""
    await member.replica.propose(lease_grant=LeaseGrantRequest(ID=SHORT_LEASE, TTL=2))
    while True:
        tell(f"L {member.state.lessor.renew(SHORT_LEASE, member.clock.now())}")
        await asyncio.sleep(0.2)


def sync_slowly() -> None:
    """Let every sync take as long as on a slow disk, so that kills fall between a write and its sync."""
    sync = LossyFile.sync

    def slow(self: LossyFile) -> None:
        time.sleep(0.002)
        sync(self)

    LossyFile.sync = slow  # type: ignore[method-assign]  # the delay belongs to this test alone


def die(error: BaseException) -> None:
    tell(f"E {error}")
    end_process(error)


async def live(options: argparse.Namespace) -> None:
    config = ServerConfig(data_dir=options.data_dir, snapshot_count=options.snapshot_count)
    try:
        member = open_member(
            config, asyncio.get_running_loop(), log=LogSizes(options.segment_size, options.mark_bytes), on_fatal=die
        )
    except BootRefused as refused:
        tell(f"E {refused}")
        raise
    await member.start()
    found = recovered(member.state, member.backend)
    tell("S " + json.dumps(found))
    if options.once:
        await member.stop()
        return
    if options.renew:
        await renew(member)
    if LEASE not in member.state.lessor:
        await member.replica.propose(lease_grant=LeaseGrantRequest(ID=LEASE, TTL=1_000_000))
    for number in range(options.writers):
        steps = [step for key, step in found["keys"].items() if key.startswith(f"w{number}/")]
        Writer(member, number, max(steps, default=0)).go()
    if options.compact:
        await compact(member)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--snapshot-count", type=int, default=10**9)
    parser.add_argument("--segment-size", type=int, default=16 << 20)
    parser.add_argument("--mark-bytes", type=int, default=1 << 40, help="by default the log keeps everything")
    parser.add_argument("--compact", action="store_true")
    parser.add_argument("--renew", action="store_true", help="no load, but a lease that is kept alive")
    parser.add_argument("--once", action="store_true", help="tell what was recovered, and stop in order")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if os.environ.get("COORD_FILES") == "lossy":
        sync_slowly()
    sys.setswitchinterval(0.0002)
    asyncio.run(live(parser.parse_args()))


if __name__ == "__main__":
    main()
