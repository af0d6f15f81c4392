"""Noticing that a cluster is not the one it was."""

from __future__ import annotations

import threading

import pytest

from coord.client.connection.history import History, Mark
from coord.errors import HistoryLost


def answer(
    history: History, revision: int, *, sent: Mark | None = None, cluster: int = 1, term: int = 2, linear: bool = True
) -> None:
    history.seen(sent or history.mark, cluster_id=cluster, revision=revision, term=term, linearizable=linear)


def test_growing_is_fine() -> None:
    history = History()
    for revision in (1, 5, 5, 9):
        answer(history, revision)
    assert history.mark == Mark(0, 1, 9, 2)


def test_going_back_is_noticed_once() -> None:
    history = History()
    answer(history, 9)
    with pytest.raises(HistoryLost) as caught:
        answer(history, 3)
    assert (caught.value.revision, caught.value.seen_revision) == (3, 9)
    assert history.mark == Mark(1, 1, 3, 2)
    answer(history, 3)
    answer(history, 4)


def test_term_going_back() -> None:
    """The same cluster id, and a revision that has grown beyond the old one: a server on an empty disk, in use."""
    history = History()
    answer(history, 9, term=7)
    with pytest.raises(HistoryLost, match="term 2"):
        answer(history, 50, term=2)


def test_another_cluster() -> None:
    history = History()
    answer(history, 9)
    with pytest.raises(HistoryLost, match="another cluster") as caught:
        answer(history, 100, cluster=2, linear=False)
    assert (caught.value.cluster_id, caught.value.expected_cluster_id) == (2, 1)
    answer(history, 5, cluster=2)


def test_serializable_answers_may_be_old() -> None:
    history = History()
    answer(history, 9)
    answer(history, 3, linear=False)
    answer(history, 0, cluster=0, term=0, linear=False)
    assert history.mark.revision == 9
    answer(history, 20, linear=False)
    assert history.mark.revision == 9


def test_answers_of_requests_in_flight_together_come_in_any_order() -> None:
    history = History()
    answer(history, 5)
    early = history.mark
    answer(history, 9, sent=early)
    answer(history, 6, sent=early)
    assert history.mark.revision == 9
    with pytest.raises(HistoryLost):
        answer(history, 4, sent=early)


def test_a_loss_is_reported_once_to_requests_sent_before_it() -> None:
    history = History()
    answer(history, 9)
    early = history.mark
    with pytest.raises(HistoryLost):
        answer(history, 1, sent=early, cluster=2)
    answer(history, 1, sent=early, cluster=2)
    answer(history, 2, cluster=2)
    assert history.epoch == 1


def test_many_threads_one_report() -> None:
    history = History()
    answer(history, 9)
    early = history.mark
    told: list[HistoryLost] = []
    history.on_lost(told.append)
    raised = []
    start = threading.Barrier(8)

    def late() -> None:
        start.wait()
        try:
            answer(history, 1, sent=early)
        except HistoryLost as error:
            raised.append(error)

    threads = [threading.Thread(target=late) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(raised) == len(told) == 1


def test_listeners() -> None:
    history = History()
    told: list[HistoryLost] = []
    forget = history.on_lost(told.append)
    answer(history, 9)
    history.reset(HistoryLost("a watch is ahead of its server"))
    assert [str(each) for each in told] == ["a watch is ahead of its server"]
    answer(history, 1)
    forget()
    forget()
    history.reset(HistoryLost("again"))
    assert len(told) == 1
    assert history.epoch == 2
