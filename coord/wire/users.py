"""Messages of etcd's auth service, to and from plain values. No policy here."""

from __future__ import annotations

from coord.model import Access, AuthStatus, Permission
from coord.wire import auth_pb2, rpc_pb2
from coord.wire.convert import header


def auth_status(message: rpc_pb2.AuthStatusResponse) -> AuthStatus:
    """Whether authentication is on."""
    return AuthStatus(header(message.header), message.enabled, message.authRevision)


def user_add(name: str, password: str | None) -> rpc_pb2.AuthUserAddRequest:
    """Make a user; without a password it can only come with a certificate."""
    return rpc_pb2.AuthUserAddRequest(
        name=name, password=password or "", options=auth_pb2.UserAddOptions(no_password=password is None)
    )


def users(message: rpc_pb2.AuthUserListResponse) -> tuple[str, ...]:
    """All user names."""
    return tuple(message.users)


def roles(message: rpc_pb2.AuthRoleListResponse | rpc_pb2.AuthUserGetResponse) -> tuple[str, ...]:
    """All role names, or those of one user."""
    return tuple(message.roles)


def permissions(message: rpc_pb2.AuthRoleGetResponse) -> tuple[Permission, ...]:
    """What a role may do."""
    return tuple([Permission(Access(p.permType), p.key, p.range_end) for p in message.perm])


def grant(role: str, permission: Permission) -> rpc_pb2.AuthRoleGrantPermissionRequest:
    """Allow a role something."""
    return rpc_pb2.AuthRoleGrantPermissionRequest(
        name=role,
        perm=auth_pb2.Permission(
            permType=permission.access.name,
            key=permission.key,
            range_end=permission.range_end,
        ),
    )


def revoke(role: str, key: bytes, range_end: bytes) -> rpc_pb2.AuthRoleRevokePermissionRequest:
    """Take a permission back."""
    return rpc_pb2.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=range_end)
