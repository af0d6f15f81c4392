"""Waiting for each other: barrier, latch, double barrier, cyclic barrier."""
