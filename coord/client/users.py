"""Users and roles of a cluster: ``client.auth``. Keys in permissions are absolute: no namespace is put before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coord.client.calls import Call
from coord.client.connection.retry import Timeout
from coord.model import DEFAULT, Access, AuthStatus, Permission
from coord.ops import span
from coord.wire import methods, users

if TYPE_CHECKING:
    from coord.client.aio import AsyncClient
    from coord.client.blocking import BlockingClient


def _change(method: methods.Method, **fields: Any) -> Call[None]:
    """A call that changes users or roles; it is not repeated, since others may have changed them in between."""
    return Call(method, method.request(**fields), _nothing, write=True)


def _nothing(response: Any) -> None:
    return None


def _grant(role: str, access: Access, start: bytes, end: bytes) -> Call[None]:
    request = users.grant(role, Permission(access, start, end))
    return Call(methods.ROLE_GRANT_PERMISSION, request, _nothing, write=True)


class BlockingAuth:
    """Users, roles, permissions; blocking."""

    __slots__ = ("_client",)

    def __init__(self, client: BlockingClient) -> None:
        self._client = client

    def enable(self, *, timeout: Timeout = DEFAULT) -> None:
        """Ask for users from now on. There must be a user root with the role root.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.AUTH_ENABLE), timeout)

    def disable(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let everybody do everything.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.AUTH_DISABLE), timeout)

    def status(self, *, timeout: Timeout = DEFAULT) -> AuthStatus:
        """Whether users are asked for.

        Raises:
            Unsupported: the server is older than 3.5.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(Call(methods.AUTH_STATUS, methods.AUTH_STATUS.request(), users.auth_status), timeout)

    def add_user(self, name: str, password: str | None = None, *, timeout: Timeout = DEFAULT) -> None:
        """Make a user; without a password it can only come with a certificate.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        request = users.user_add(name, password)
        self._client.run(Call(methods.USER_ADD, request, _nothing, write=True), timeout)

    def delete_user(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Delete a user.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.USER_DELETE, name=name), timeout)

    def change_password(self, name: str, password: str, *, timeout: Timeout = DEFAULT) -> None:
        """Give a user another password; its tokens end.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.USER_CHANGE_PASSWORD, name=name, password=password), timeout)

    def user_roles(self, name: str, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """The roles of a user.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(Call(methods.USER_GET, methods.USER_GET.request(name=name), users.roles), timeout)

    def users(self, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """All users.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(Call(methods.USER_LIST, methods.USER_LIST.request(), users.users), timeout)

    def grant_role(self, user: str, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Give a user a role.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.USER_GRANT_ROLE, user=user, role=role), timeout)

    def revoke_role(self, user: str, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Take a role from a user.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.USER_REVOKE_ROLE, name=user, role=role), timeout)

    def add_role(self, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Make a role.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.ROLE_ADD, name=role), timeout)

    def delete_role(self, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Delete a role; its users lose it.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._client.run(_change(methods.ROLE_DELETE, role=role), timeout)

    def permissions(self, role: str, *, timeout: Timeout = DEFAULT) -> tuple[Permission, ...]:
        """What a role may do.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(Call(methods.ROLE_GET, methods.ROLE_GET.request(role=role), users.permissions), timeout)

    def roles(self, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """All roles.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self._client.run(Call(methods.ROLE_LIST, methods.ROLE_LIST.request(), users.roles), timeout)

    def grant(
        self,
        role: str,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        access: Access = Access.READWRITE,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Allow a role to use a key or a range.

        Raises:
            UsageError: the range is named in more than one way.
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        start, end = span(key, prefix=prefix, from_key=from_key, range_end=range_end)
        self._client.run(_grant(role, access, start, end), timeout)

    def revoke(
        self,
        role: str,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Take a permission back; the range must be the one that was granted.

        Raises:
            UsageError: the range is named in more than one way.
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        request = users.revoke(role, *span(key, prefix=prefix, from_key=from_key, range_end=range_end))
        self._client.run(Call(methods.ROLE_REVOKE_PERMISSION, request, _nothing, write=True), timeout)


class AsyncAuth:
    """Users, roles, permissions; asyncio."""

    __slots__ = ("_client",)

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def enable(self, *, timeout: Timeout = DEFAULT) -> None:
        """Ask for users from now on. There must be a user root with the role root.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.AUTH_ENABLE), timeout)

    async def disable(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let everybody do everything.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.AUTH_DISABLE), timeout)

    async def status(self, *, timeout: Timeout = DEFAULT) -> AuthStatus:
        """Whether users are asked for.

        Raises:
            Unsupported: the server is older than 3.5.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(
            Call(methods.AUTH_STATUS, methods.AUTH_STATUS.request(), users.auth_status), timeout
        )

    async def add_user(self, name: str, password: str | None = None, *, timeout: Timeout = DEFAULT) -> None:
        """Make a user; without a password it can only come with a certificate.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        request = users.user_add(name, password)
        await self._client.run(Call(methods.USER_ADD, request, _nothing, write=True), timeout)

    async def delete_user(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Delete a user.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.USER_DELETE, name=name), timeout)

    async def change_password(self, name: str, password: str, *, timeout: Timeout = DEFAULT) -> None:
        """Give a user another password; its tokens end.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.USER_CHANGE_PASSWORD, name=name, password=password), timeout)

    async def user_roles(self, name: str, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """The roles of a user.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(Call(methods.USER_GET, methods.USER_GET.request(name=name), users.roles), timeout)

    async def users(self, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """All users.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(Call(methods.USER_LIST, methods.USER_LIST.request(), users.users), timeout)

    async def grant_role(self, user: str, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Give a user a role.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.USER_GRANT_ROLE, user=user, role=role), timeout)

    async def revoke_role(self, user: str, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Take a role from a user.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.USER_REVOKE_ROLE, name=user, role=role), timeout)

    async def add_role(self, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Make a role.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.ROLE_ADD, name=role), timeout)

    async def delete_role(self, role: str, *, timeout: Timeout = DEFAULT) -> None:
        """Delete a role; its users lose it.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        await self._client.run(_change(methods.ROLE_DELETE, role=role), timeout)

    async def permissions(self, role: str, *, timeout: Timeout = DEFAULT) -> tuple[Permission, ...]:
        """What a role may do.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(
            Call(methods.ROLE_GET, methods.ROLE_GET.request(role=role), users.permissions), timeout
        )

    async def roles(self, *, timeout: Timeout = DEFAULT) -> tuple[str, ...]:
        """All roles.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self._client.run(Call(methods.ROLE_LIST, methods.ROLE_LIST.request(), users.roles), timeout)

    async def grant(
        self,
        role: str,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        access: Access = Access.READWRITE,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Allow a role to use a key or a range.

        Raises:
            UsageError: the range is named in more than one way.
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        start, end = span(key, prefix=prefix, from_key=from_key, range_end=range_end)
        await self._client.run(_grant(role, access, start, end), timeout)

    async def revoke(
        self,
        role: str,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Take a permission back; the range must be the one that was granted.

        Raises:
            UsageError: the range is named in more than one way.
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        request = users.revoke(role, *span(key, prefix=prefix, from_key=from_key, range_end=range_end))
        await self._client.run(Call(methods.ROLE_REVOKE_PERMISSION, request, _nothing, write=True), timeout)
