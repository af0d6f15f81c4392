"""How members and clusters get their ids: etcd's formula, so that tools and people see the ids they know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a data directory belongs to; fixed when it is created."""

    cluster_id: int
    member_id: int

    def __str__(self) -> str:
        return f"member {self.member_id:x} of cluster {self.cluster_id:x}"


def member_id(peer_urls: Iterable[str], token: str, added_at: int | None = None) -> int:
    """Id of a member; `added_at` (Unix seconds) for one that joins a running cluster."""
    text = "".join(sorted(peer_urls)) + token + ("" if added_at is None else str(added_at))
    return _first8(text.encode())


def cluster_id(member_ids: Iterable[int]) -> int:
    """Id of the cluster that starts with these members."""
    return _first8(b"".join(one.to_bytes(8, "big") for one in sorted(member_ids)))


def _first8(data: bytes) -> int:
    # SHA-1 names things here and protects nothing; etcd chose it.
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8], "big")
