"""Watching keys: the machine, and its two faces."""
