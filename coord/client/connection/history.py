"""The oldest state that an answer may come from: notices a cluster that was replaced or went back in time.

A cluster restored from a backup, or a server started on an empty disk, answers as if nothing were wrong; locks and
revisions taken from it before mean nothing any more. The floor is that of the moment a request was *sent*: answers of
requests in flight together may arrive in any order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from coord.errors import HistoryLost


class Mark(NamedTuple):
    """What was known when a request was sent."""

    epoch: int
    cluster_id: int
    revision: int
    term: int


class History:
    """Cluster id, revision and term seen so far; shared by all connections of a client, from any thread.

    Attributes:
        mark: what is known now; taken before a request is sent and given to `seen` with its answer.
    """

    def __init__(self) -> None:
        self.mark = Mark(0, 0, 0, 0)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[HistoryLost], None]] = []

    def __repr__(self) -> str:
        known = self.mark
        return f"<History cluster={known.cluster_id:x} revision={known.revision} term={known.term}>"

    @property
    def epoch(self) -> int:
        """Number of histories lost so far."""
        return self.mark.epoch

    def on_lost(self, listener: Callable[[HistoryLost], None]) -> Callable[[], None]:
        """Call `listener` whenever history is lost, in the thread that noticed; it must not block.

        Returns a function that takes the listener back.
        """
        self._listeners.append(listener)

        def forget() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return forget

    def seen(self, sent: Mark, *, cluster_id: int, revision: int, term: int, linearizable: bool) -> None:
        """Take note of an answer's header.

        Args:
            sent: `mark` at the time the request was sent.
            cluster_id: of the header, 0 if it has none.
            revision: of the header.
            term: of the header.
            linearizable: the answer is at least as new as everything acknowledged before the request was sent.

        Raises:
            HistoryLost: another cluster, or an older state. Raised once; what was seen is the new floor.
        """
        known = self.mark
        if (
            sent.epoch == known.epoch
            and (not cluster_id or cluster_id == known.cluster_id)
            and (not linearizable or (sent.revision <= revision <= known.revision and sent.term <= term <= known.term))
        ):
            return
        self._advance(sent, Mark(sent.epoch, cluster_id, revision, term), linearizable)

    def reborn(self) -> None:
        """This is a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def reset(self, lost: HistoryLost) -> None:
        """History is known to be lost by other signs (a watch that is ahead of its server): forget the floor.

        The listeners are told.
        """
        with self._lock:
            self.mark = Mark(self.mark.epoch + 1, 0, 0, 0)
        self._tell(lost)

    def _advance(self, sent: Mark, answer: Mark, linearizable: bool) -> None:
        with self._lock:
            known = self.mark
            if sent.epoch != known.epoch:
                return  # sent before the loss that was reported already
            text = _complaint(known, sent, answer, linearizable)
            if not text:
                self.mark = _newest(known, answer, linearizable)
                return
            floor = (answer.revision, answer.term) if linearizable else (0, 0)
            self.mark = Mark(known.epoch + 1, answer.cluster_id, *floor)
        lost = _loss(text, known, sent, answer)
        self._tell(lost)
        raise lost

    def _tell(self, lost: HistoryLost) -> None:
        for listener in tuple(self._listeners):
            listener(lost)


def _newest(known: Mark, answer: Mark, linearizable: bool) -> Mark:
    if not linearizable:
        return known if known.cluster_id else Mark(known.epoch, answer.cluster_id, known.revision, known.term)
    if answer.revision >= known.revision and answer.term >= known.term and answer.cluster_id:
        return answer
    return Mark(
        known.epoch,
        answer.cluster_id or known.cluster_id,
        max(known.revision, answer.revision),
        max(known.term, answer.term),
    )


def _loss(text: str, known: Mark, sent: Mark, answer: Mark) -> HistoryLost:
    return HistoryLost(
        text,
        cluster_id=answer.cluster_id,
        expected_cluster_id=known.cluster_id,
        revision=answer.revision,
        seen_revision=sent.revision,
        term=answer.term,
        seen_term=sent.term,
    )


def _complaint(known: Mark, sent: Mark, answer: Mark, linearizable: bool) -> str:
    """What is wrong with an answer, empty if nothing is."""
    if answer.cluster_id and known.cluster_id and answer.cluster_id != known.cluster_id:
        return f"another cluster answers: id {answer.cluster_id:x}, so far it was {known.cluster_id:x}"
    if not linearizable:
        return ""
    if answer.revision < sent.revision:
        return f"the cluster went back in time: revision {answer.revision} after {sent.revision} had been seen"
    if answer.term and answer.term < sent.term:
        return f"the cluster went back in time: term {answer.term} after {sent.term} had been seen"
    return ""
