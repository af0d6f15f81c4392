"""Locks of all kinds."""
