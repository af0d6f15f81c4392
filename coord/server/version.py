"""What this server says it is: an API level of etcd for clients that look at versions, and coord's own version."""

from __future__ import annotations

from importlib import metadata

ETCD_VERSION = "3.6.0"
"""Reported wherever etcd reports its own version. etcd's clients decide by it what they may ask for."""

STORAGE_VERSION = "3.6.0"


def coord_version() -> str:
    """Version of the installed distribution; a bare checkout has none."""
    try:
        return metadata.version("coord")
    except metadata.PackageNotFoundError:
        return "0+checkout"
