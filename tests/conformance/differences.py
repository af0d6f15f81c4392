"""Where the servers differ on purpose: one table, no expected failures anywhere else.

The bundled server follows the newest etcd; 3.4.23 and 3.5.1 behave in the older way in the places listed here. A test
whose answer depends on the server takes the expected answer from this table (fixture ``expected``); the end of a run
prints the table. ``CRASH`` stands where a server must not be asked: the question would end it. Tests that ask are
marked ``unsafe``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CRASH = object()


class Difference(NamedTuple):
    """One place where the answer depends on the server.

    Attributes:
        case: name of the case, used by exactly one test.
        bundled: answer of the bundled server, which is the newest etcd's.
        etcd34: answer of etcd 3.4.23.
        etcd35: answer of etcd 3.5.1.
        why: since when etcd answers differently, or what is different here.
    """

    case: str
    bundled: Any
    etcd34: Any
    etcd35: Any
    why: str

    def answer(self, kind: str) -> Any:
        """The answer of this kind of server."""
        return getattr(self, kind)


_ELECTION = ("Campaign", "Proclaim", "Leader", "Observe", "Resign")
_AUTH = (
    *("AuthEnable", "AuthDisable", "AuthStatus", "Authenticate"),
    *("UserAdd", "UserGet", "UserList", "UserDelete", "UserChangePassword", "UserGrantRole", "UserRevokeRole"),
    *("RoleAdd", "RoleGet", "RoleList", "RoleDelete", "RoleGrantPermission", "RoleRevokePermission"),
)
_PROGRESS = "since 3.4.25/3.5.8 dropped unless all watchers of the stream are synced and there is one"

DIFFERENCES: tuple[Difference, ...] = (
    Difference("range: unknown sort_order", "refused", "ignored", "ignored", "checked since 3.6, ignored before"),
    Difference("range: unknown sort_target", "refused", CRASH, CRASH, "checked since 3.6; before, the process dies"),
    Difference(
        "watch: negative start_revision", "one reply", "two replies", "two replies", "since 3.4.38/3.5.24 one reply"
    ),
    Difference(
        "watch: negative start_revision, never compacted",
        "refused",
        "created",
        "created",
        "since 3.4.38/3.5.24 refused; before, cancelled with compact_revision -1",
    ),
    Difference("watch: progress without watchers", "dropped", "answered", "answered", _PROGRESS),
    Difference("watch: progress after the last cancel", "dropped", "answered", "answered", _PROGRESS),
    Difference("watch: progress with a future watcher", "dropped", "answered", "answered", _PROGRESS),
    Difference(
        "alarm: unknown type", "told", "told", CRASH, "3.5 panics when it answers status; 3.4 and the newest do not"
    ),
    Difference("alarm: header", "filled", "missing", "filled", "filled since 3.5"),
    Difference(
        "methods: not served",
        frozenset(
            {
                "/etcdserverpb.KV/RangeStream",
                "/etcdserverpb.Cluster/MemberAdd",
                "/etcdserverpb.Cluster/MemberRemove",
                "/etcdserverpb.Cluster/MemberUpdate",
                "/etcdserverpb.Cluster/MemberPromote",
                "/etcdserverpb.Maintenance/Defragment",
                "/etcdserverpb.Maintenance/Hash",
                "/etcdserverpb.Maintenance/HashKV",
                "/etcdserverpb.Maintenance/Snapshot",
                "/etcdserverpb.Maintenance/MoveLeader",
                "/etcdserverpb.Maintenance/Downgrade",
                *(f"/etcdserverpb.Auth/{name}" for name in _AUTH),
                *(f"/v3lockpb.Lock/{name}" for name in ("Lock", "Unlock")),
                *(f"/v3electionpb.Election/{name}" for name in _ELECTION),
            }
        ),
        frozenset(
            {
                "/etcdserverpb.KV/RangeStream",
                "/etcdserverpb.Maintenance/Downgrade",
                "/etcdserverpb.Auth/AuthStatus",
            }
        ),
        frozenset({"/etcdserverpb.KV/RangeStream"}),
        "the bundled server answers UNIMPLEMENTED to what it does not do yet; older ones to what came later",
    ),
)

BY_CASE = {difference.case: difference for difference in DIFFERENCES}
