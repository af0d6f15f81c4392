"""Queues of jobs: taken by one consumer at a time, done when they are acknowledged."""
