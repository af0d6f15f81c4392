"""The clients' methods that make elections."""

from __future__ import annotations

from collections.abc import Callable

from coord.model import DEFAULT
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.elections.election import AsyncElection, Election
from coord.recipes.elections.leadership import AsyncLeadership, Leadership


class ElectionMethods(HasPrograms):
    """Elections of the blocking client."""

    def election(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Leadership], object] | None = None,
    ) -> Election:
        """An election of one leader across processes: ``with client.election("cron").lead() as leader: ...``.

        See `coord.recipes.elections.election.Election`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return Election(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)


class AsyncElectionMethods(HasPrograms):
    """Elections of the asyncio client."""

    def election(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncLeadership], object] | None = None,
    ) -> AsyncElection:
        """An election of one leader across processes: ``async with client.election("cron").lead() as leader: ...``.

        See `coord.recipes.elections.election.AsyncElection`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return AsyncElection(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
