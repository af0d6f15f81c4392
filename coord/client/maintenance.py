"""Looking after a cluster: ``client.maintenance``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coord.client import calls
from coord.client.connection.retry import Timeout
from coord.model import DEFAULT, Alarm, KeyspaceHash, Member
from coord.wire import convert, methods

if TYPE_CHECKING:
    from coord.client.aio import AsyncClient
    from coord.client.blocking import BlockingClient


class _Part:
    """A file that appears under its name only when it is complete."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._part = Path(f"{os.fspath(path)}.part")
        self._file = self._part.open("wb")
        self.size = 0

    def write(self, blob: bytes) -> None:
        self.size += self._file.write(blob)

    def keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)

    def close(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


class BlockingMaintenance:
    """Alarms, members, defragmentation, hashes, snapshots; blocking."""

    __slots__ = ("_client",)

    def __init__(self, client: BlockingClient) -> None:
        self._client = client

    def alarms(self, *, timeout: Timeout = DEFAULT) -> tuple[Alarm, ...]:
        """The active alarms.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.alarms(), timeout)

    def disarm(self, *, timeout: Timeout = DEFAULT) -> tuple[Alarm, ...]:
        """Take all alarms back; returns those that there were. Free space first, or NOSPACE comes again.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        left = self._client._one_time(timeout)
        found = self._client.run(calls.alarms(), left())
        for alarm in found:
            self._client.run(calls.disarm(alarm), left())
        return found

    def defragment(self, endpoint: str, *, timeout: Timeout = None) -> None:
        """Give free space of one member back to its disk; it answers nothing meanwhile.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(calls.defragment(), timeout, endpoint=self._client.endpoint(endpoint))

    def hash_kv(self, endpoint: str | None = None, *, revision: int = 0, timeout: Timeout = DEFAULT) -> KeyspaceHash:
        """One member's hash of everything stored up to `revision` (0: the current one).

        Raises:
            Compacted, FutureRevision: `revision` cannot be read.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.hash_kv(revision), timeout, endpoint=self._client.endpoint(endpoint))

    def move_leader(self, member_id: int, *, timeout: Timeout = DEFAULT) -> None:
        """Hand leadership to another member.

        Raises:
            RequestRefused: it is no voting member of the cluster.
            OutcomeUnknown, CallTimeout, Unavailable, ClosedError.
        """
        left = self._client._one_time(timeout)
        leader = self._client.leader(left())
        self._client.run(calls.move_leader(member_id), left(), endpoint=leader)

    def add_member(self, peer_urls: Sequence[str], *, learner: bool = False, timeout: Timeout = DEFAULT) -> Member:
        """Add a member, to be started afterwards with ``--initial-cluster-state existing``.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.add_member(peer_urls, learner=learner), timeout)

    def remove_member(self, member_id: int, *, timeout: Timeout = DEFAULT) -> tuple[Member, ...]:
        """Remove a member; returns those that are left.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(calls.remove_member(member_id), timeout)

    def promote_member(self, member_id: int, *, timeout: Timeout = DEFAULT) -> tuple[Member, ...]:
        """Make a learner a voting member; returns all members.

        Raises:
            RequestRefused: it is not a learner, or not up to date yet.
            OutcomeUnknown, CallTimeout, Unavailable, ClosedError.
        """
        return self._client.run(calls.promote_member(member_id), timeout)

    def snapshot(self, path: str | os.PathLike[str], *, endpoint: str | None = None, timeout: Timeout = None) -> int:
        """Copy one member's database to a file that ``etcdctl snapshot restore`` reads; returns its size.

        The file appears under its name only when it is complete.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError, OSError.
        """
        part = _Part(path)
        try:
            for chunk in self._client.stream(methods.SNAPSHOT, convert.snapshot_request(), endpoint, timeout):
                part.write(chunk.blob)
            part.keep()
        finally:
            part.close()
        return part.size


class AsyncMaintenance:
    """Alarms, members, defragmentation, hashes, snapshots; asyncio."""

    __slots__ = ("_client",)

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def alarms(self, *, timeout: Timeout = DEFAULT) -> tuple[Alarm, ...]:
        """The active alarms.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.alarms(), timeout)

    async def disarm(self, *, timeout: Timeout = DEFAULT) -> tuple[Alarm, ...]:
        """Take all alarms back; returns those that there were. Free space first, or NOSPACE comes again.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        left = self._client._one_time(timeout)
        found = await self._client.run(calls.alarms(), left())
        for alarm in found:
            await self._client.run(calls.disarm(alarm), left())
        return found

    async def defragment(self, endpoint: str, *, timeout: Timeout = None) -> None:
        """Give free space of one member back to its disk; it answers nothing meanwhile.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(calls.defragment(), timeout, endpoint=self._client.endpoint(endpoint))

    async def hash_kv(
        self, endpoint: str | None = None, *, revision: int = 0, timeout: Timeout = DEFAULT
    ) -> KeyspaceHash:
        """One member's hash of everything stored up to `revision` (0: the current one).

        Raises:
            Compacted, FutureRevision: `revision` cannot be read.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.hash_kv(revision), timeout, endpoint=self._client.endpoint(endpoint))

    async def move_leader(self, member_id: int, *, timeout: Timeout = DEFAULT) -> None:
        """Hand leadership to another member.

        Raises:
            RequestRefused: it is no voting member of the cluster.
            OutcomeUnknown, CallTimeout, Unavailable, ClosedError.
        """
        left = self._client._one_time(timeout)
        leader = await self._client.leader(left())
        await self._client.run(calls.move_leader(member_id), left(), endpoint=leader)

    async def add_member(
        self, peer_urls: Sequence[str], *, learner: bool = False, timeout: Timeout = DEFAULT
    ) -> Member:
        """Add a member, to be started afterwards with ``--initial-cluster-state existing``.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.add_member(peer_urls, learner=learner), timeout)

    async def remove_member(self, member_id: int, *, timeout: Timeout = DEFAULT) -> tuple[Member, ...]:
        """Remove a member; returns those that are left.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(calls.remove_member(member_id), timeout)

    async def promote_member(self, member_id: int, *, timeout: Timeout = DEFAULT) -> tuple[Member, ...]:
        """Make a learner a voting member; returns all members.

        Raises:
            RequestRefused: it is not a learner, or not up to date yet.
            OutcomeUnknown, CallTimeout, Unavailable, ClosedError.
        """
        return await self._client.run(calls.promote_member(member_id), timeout)

    async def snapshot(
        self, path: str | os.PathLike[str], *, endpoint: str | None = None, timeout: Timeout = None
    ) -> int:
        """Copy one member's database to a file that ``etcdctl snapshot restore`` reads; returns its size.

        The file appears under its name only when it is complete.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError, OSError.
        """
        part = await asyncio.to_thread(_Part, path)
        try:
            async for chunk in self._client.stream(methods.SNAPSHOT, convert.snapshot_request(), endpoint, timeout):
                await asyncio.to_thread(part.write, chunk.blob)
            await asyncio.to_thread(part.keep)
        finally:
            part.close()
        return part.size
