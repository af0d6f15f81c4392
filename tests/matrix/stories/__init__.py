"""The stories, by the name of the recipe."""

from tests.matrix.stories import election, lock, locks, registry, rwlock, semaphore
from tests.matrix.story import Story

STORIES: dict[str, Story] = {
    "election": election.STORY,
    "lock": lock.STORY,
    "locks": locks.STORY,
    "registry": registry.STORY,
    "rwlock": rwlock.STORY,
    "semaphore": semaphore.STORY,
}
