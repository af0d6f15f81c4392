"""The stories, by the name of the recipe."""

from tests.matrix.stories import (
    barrier,
    config,
    double_barrier,
    election,
    latch,
    lock,
    locks,
    queue,
    registry,
    rlock,
    rwlock,
    semaphore,
)
from tests.matrix.story import Story

STORIES: dict[str, Story] = {
    "barrier": barrier.STORY,
    "config": config.STORY,
    "double_barrier": double_barrier.STORY,
    "election": election.STORY,
    "latch": latch.STORY,
    "lock": lock.STORY,
    "locks": locks.STORY,
    "queue": queue.STORY,
    "registry": registry.STORY,
    "rlock": rlock.STORY,
    "rwlock": rwlock.STORY,
    "semaphore": semaphore.STORY,
}
