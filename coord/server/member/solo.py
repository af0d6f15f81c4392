"""Consensus of a group of one member: the same contract as Raft, without anybody to ask.

What the only voter has on its disk is chosen, so recovery hands out the whole log, and the first entry of the new
term is there for the same reason as in Raft: a term of its own makes a restart visible, and a read is not answered
before it is committed. Commit moves in `advance` alone. etcd once let a lone member emit an entry as "to persist" and
"committed" in one batch and acknowledged writes that a crash then lost (#14370).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coord.server.consensus import NORMAL, Entry, HardState, ReadState, Ready
from coord.server.invariant import invariant


class SoloConsensus:
    """A group whose only member always leads."""

    def __init__(self, member_id: int, hard_state: HardState, last_index: int, unapplied: Sequence[Entry] = ()) -> None:
        """Become leader of the term after `hard_state`.

        `unapplied` is the end of the durable log that the backend does not hold yet, up to `last_index`.
        """
        if unapplied:
            invariant(unapplied[-1].index == last_index, "the log has a gap", last=last_index)
        self.leader = member_id
        self.term = hard_state.term + 1
        self.commit = last_index - len(unapplied)
        self._hard_state: HardState | None = HardState(self.term, member_id, last_index)
        self._last = last_index + 1
        self._term_start = self._last
        self._unstable = [Entry(self.term, self._last, NORMAL, b"")]
        self._chosen: list[Entry] = list(unapplied)
        self._committed: list[Entry] = []
        self._asked: list[bytes] = []
        self._answers: list[ReadState] = []
        self._taken: Ready | None = None

    def tick(self) -> None:
        """Nothing depends on time here."""

    def step(self, message: Any) -> None:
        """No other member exists.

        Raises:
            InvariantBroken: always; somebody's message reached a group it is not part of.
        """
        invariant(False, "a lone member received a message", message=type(message).__name__)

    def propose(self, data: bytes) -> bool:
        """Append to the log."""
        self._last += 1
        self._unstable.append(Entry(self.term, self._last, NORMAL, data))
        return True

    def read_index(self, token: bytes) -> bool:
        """Answered at once, or as soon as the first entry of the term is committed."""
        if self.commit >= self._term_start:
            self._answers.append(ReadState(token, self.commit))
        else:
            self._asked.append(token)
        return True

    def read_now(self) -> int:
        """The commit index if a read is linearizable at it without asking anybody, else -1."""
        return self.commit if self.commit >= self._term_start else -1

    def has_ready(self) -> bool:
        return self._taken is None and bool(
            self._unstable or self._committed or self._answers or self._hard_state is not None
        )

    def ready(self) -> Ready:
        """Take the next batch.

        Raises:
            InvariantBroken: the last batch was not advanced.
        """
        invariant(self._taken is None, "a batch was taken before the last one was advanced")
        taken = Ready(
            hard_state=self._hard_state,
            entries=self._unstable,
            committed=self._committed,
            read_states=self._answers,
            must_sync=bool(self._unstable) or self._hard_state is not None,
        )
        self._hard_state, self._unstable, self._committed, self._answers = None, [], [], []
        self._taken = taken
        return taken

    def advance(self) -> None:
        """The disk has the entries of the batch taken last: they are committed now.

        Raises:
            InvariantBroken: no batch is taken.
        """
        taken = self._taken
        invariant(taken is not None, "nothing to advance")
        assert taken is not None
        self._taken = None
        if not taken.entries:
            return
        self._committed = self._chosen + taken.entries if self._chosen else taken.entries
        self._chosen = []
        self.commit = taken.entries[-1].index
        self._answers.extend(ReadState(token, self.commit) for token in self._asked)
        self._asked = []
