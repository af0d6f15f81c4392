"""What members publish about themselves. Kept in the backend; who is a member at all is not decided here."""

from __future__ import annotations

from coord.server.entry_pb2 import MemberAttributes
from coord.server.storage.contract import Backend, Bucket
from coord.wire import rpc_pb2 as pb


class Members:
    """Members by id."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._members: dict[int, pb.Member] = {}

    def load(self) -> None:
        """Read the members from the backend."""
        self._members = {}
        for stored, record in self._backend.scan(Bucket.MEMBERS):
            self._members[int.from_bytes(stored, "big")] = pb.Member.FromString(record)

    def publish(self, attributes: MemberAttributes) -> list[pb.Member]:
        """Set name and client addresses of a member; returns all members."""
        member = self._members.setdefault(attributes.member_id, pb.Member(ID=attributes.member_id))
        member.name = attributes.name
        member.clientURLs[:] = attributes.client_urls
        self._put(member)
        return self.list()

    def put(self, member: pb.Member) -> None:
        """Set a member whole: its addresses among peers are known to membership, not to this module."""
        self._members[member.ID] = member
        self._put(member)

    def get(self, member_id: int) -> pb.Member | None:
        """The member with this id."""
        return self._members.get(member_id)

    def list(self) -> list[pb.Member]:
        """All members by id."""
        return [self._members[member_id] for member_id in sorted(self._members)]

    def _put(self, member: pb.Member) -> None:
        self._backend.put(Bucket.MEMBERS, member.ID.to_bytes(8, "big"), member.SerializeToString(deterministic=True))
