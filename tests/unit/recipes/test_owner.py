"""What contenders say of themselves."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from coord.recipes.ownership.owner import Owner, describe_caller, parse_owner


class Client:
    """Something that stands for a client."""


def test_what_is_stored_is_read_again() -> None:
    client = Client()
    owner = parse_owner(describe_caller(client))
    assert owner.host == socket.gethostname()
    assert owner.pid == os.getpid()
    assert owner.task == threading.current_thread().name
    assert owner.client == parse_owner(describe_caller(client)).client
    assert owner.client != parse_owner(describe_caller(Client())).client
    assert owner.since > 0
    assert str(owner) == f"{owner.task} {owner.pid} on {owner.host}"


def test_a_task_is_named_by_its_task() -> None:
    async def program() -> bytes:
        return describe_caller(Client())

    async def main() -> bytes:
        return await asyncio.create_task(program(), name="packer")

    assert parse_owner(asyncio.run(main())).task == "packer"


@pytest.mark.parametrize("value", [b"", b"node-7", b"\xff\xfe", b"[1]", b"7", b"null", b'"x"'])
def test_values_of_others_are_shown_as_they_are(value: bytes) -> None:
    owner = parse_owner(value)
    assert owner == Owner(raw=value)
    assert str(owner) == value.decode("utf-8", "backslashreplace")


def test_values_half_like_ours_do_no_harm() -> None:
    owner = parse_owner(b'{"host": 7, "pid": "x", "since": null}')
    assert owner.host == "7"
    assert owner.pid == 0
    assert owner.since == 0.0
