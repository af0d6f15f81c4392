"""Changes of a configuration: what is asked of the server, lost answers, the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coord.errors import (
    CallTimeout,
    ConfigConflict,
    ConfigInvalid,
    OutcomeUnknown,
    RequestRefused,
    RevisionNotFound,
    Unavailable,
    UsageError,
)
from coord.model import DEFAULT, KeyValue
from coord.ops import Delete, Put, Txn
from coord.program import run_blocking
from coord.recipes.config.base import Options
from coord.recipes.config.config import Config
from coord.recipes.config.state import Change
from coord.recipes.config.stored import Stamp, parse_entry
from coord.recipes.config.updating import LIMIT, Update, entries, nested
from tests.unit.recipes.direct import Place as Server
from tests.unit.recipes.stepped import Client, Settings, catch_up, config, place, stored


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server, 1)


# --- changing


def test_an_update_takes_two_requests(server: Server, client: Client) -> None:
    change = config(client).update(level=5, name="x")
    assert change == Change(Settings(), Settings(5, "x"), ("level", "name"), 2)
    assert len(client.requests) == 2
    assert stored(server) == {"/app/level": b"5", "/app/name": b"x"}
    with config(client) as opened:
        client.requests.clear()
        opened.update({"level": 6})
        assert len(client.requests) == 2
        assert opened.update(level=6).fields == ()
        assert len(client.requests) == 3, "what changes nothing is not written"
        assert len(opened.history()) == 2


def test_a_changed_state_is_a_conflict(server: Server, client: Client) -> None:
    with config(client) as opened:
        opened.update(level=1)
        catch_up(opened)
        server.server.put(b"/app/name", b"other")
        with pytest.raises(ConfigConflict) as conflict:
            opened.update(level=2)
        assert (conflict.value.fields, conflict.value.revision, conflict.value.retryable) == (("name",), 3, True)
        assert stored(server)["/app/level"] == b"1"
        catch_up(opened)
        assert opened.update(level=2).new == Settings(2, "other")


def test_a_conflict_between_reading_and_writing(server: Server, client: Client) -> None:
    with config(client) as opened:
        interfere(client, lambda: server.server.put(b"/app/name", b"other"))
        with pytest.raises(ConfigConflict):
            opened.update(level=2)
    assert stored(server) == {"/app/name": b"other"}


def test_a_function_is_asked_again(server: Server, client: Client) -> None:
    interfere(client, lambda: server.server.put(b"/app/level", b"10"))
    with config(client) as opened:
        assert opened.update(lambda now: {"level": now.level + 1}).new.level == 11
        catch_up(opened)
        interfere(client, lambda: server.server.put(b"/app/name", b"x"))
        assert opened.update(lambda now: Settings(now.level + 1, now.name)).new == Settings(12, "x")


def interfere(client: Client, act: Callable[[], object]) -> None:
    """Do something before the next write arrives."""
    plain = client._commit

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if request.writes:
            client._commit = plain  # type: ignore[method-assign]  # it happens only once
            act()
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # what the test is about


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"level": 100}, ConfigInvalid),
        ({"level": "x"}, ConfigInvalid),
        ({"nothing": 1}, UsageError),
        (lambda now: {"level": 100}, ConfigInvalid),
        (lambda now: {"nothing": 1}, UsageError),
        (lambda now: None, UsageError),
        (5, UsageError),
    ],
)
def test_what_is_not_valid_is_not_written(server: Server, client: Client, changes: Any, error: type[Exception]) -> None:
    with config(client) as opened, pytest.raises(error):
        opened.update(changes)
    assert not any(isinstance(request, Txn) and request.writes for request in client.requests)


def test_fields_and_a_mapping_are_not_given_together(client: Client) -> None:
    with pytest.raises(UsageError, match="not two of them"):
        config(client).update({"level": 1}, name="x")


def test_a_field_goes_back_to_the_layer_below(server: Server, client: Client) -> None:
    with config(client, defaults={"level": 3}) as opened:
        opened.update(level=5)
        catch_up(opened)
        assert opened.update(level=DEFAULT).new == Settings(3)
        catch_up(opened)
        assert opened.origin("level") == "defaults"
    assert stored(server) == {}


def test_a_broken_state_is_mended_by_name(server: Server, client: Client) -> None:
    server.server.put(b"/app/level", b"\xff")
    with pytest.raises(ConfigInvalid, match="no UTF-8"):
        config(client).update(lambda now: {"level": 1})
    with pytest.raises(ConfigInvalid, match="no UTF-8"):
        config(client).update(name="x")
    assert config(client).update(level=1).new == Settings(1)
    first, _ = config(client).history()
    assert config(client).diff(first.revision)[0].before == "\udcff", "the history has what was there, byte for byte"


def test_large_states_are_one_transaction(server: Server, client: Client) -> None:
    many = {f"f{number:04}": number for number in range(4 * LIMIT + 5)}
    opened = config(client, dict)
    assert opened.update(many).revision == 2
    assert opened.update({name: value + 1 for name, value in many.items()}).revision == 3
    interfere(client, lambda: server.server.txn(Txn(then=(Delete(b"/app/f0200"),))))
    change = opened.update(lambda now: {"f0200": now.get("f0200", 5) + 1})
    assert (change.revision, change.new["f0200"]) == (5, 6), "what changes is compared whatever its place"
    assert nested((Put(b"a"),)) == (Put(b"a"),)


def test_a_deletion_by_others_is_noticed(server: Server, client: Client) -> None:
    config(client).update(level=1, name="x")
    interfere(client, lambda: server.server.txn(Txn(then=(Delete(b"/app/name"),))))
    assert config(client).update(lambda now: {"level": len(now.name) + 5}).new == Settings(5)


# --- answers that are lost


def made(client: Client, keep: int = 100) -> Update:
    return Update(client, place(), Stamp("me", "me", 0.0), keep, client.now() + 20)


def count_up(found: Any) -> dict[str, str]:
    return {**found.texts, "level": str(int(found.texts.get("level", "0")) + 1)}


def lose_answer(client: Client, and_then: Callable[[], object] = str) -> None:
    """The next write is done, its answer is lost, and then something else happens."""
    plain = client._commit

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if not request.writes:
            return await plain(request, deadline=deadline)
        client._commit = plain  # type: ignore[method-assign]  # it happens only once
        await plain(request, deadline=deadline)
        and_then()
        raise OutcomeUnknown("connection lost")

    client._commit = commit  # type: ignore[method-assign]  # what the test is about


def test_a_lost_answer_is_found_in_the_history(server: Server, client: Client) -> None:
    lose_answer(client)
    assert run_blocking(made(client).run(count_up)).revision == 2
    assert stored(server) == {"/app/level": b"1"}


def test_what_was_found_is_not_taken_for_the_own_change(server: Server, client: Client) -> None:
    """The entry of what was found has the number that the own one had in an attempt before."""
    plain = client._commit
    writes: list[Txn] = []

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if not request.writes:
            return await plain(request, deadline=deadline)
        writes.append(request)
        if len(writes) == 1:
            server.server.put(b"/app/level", b"7")
            raise OutcomeUnknown("lost, and never arrives")
        answer = await plain(request, deadline=deadline)
        if len(writes) == 3:
            raise OutcomeUnknown("the answer is lost")
        return answer

    client._commit = commit  # type: ignore[method-assign]  # what the test is about
    written = run_blocking(made(client).run(count_up))
    assert (written.before, written.after, written.revision) == ({"level": "7"}, {"level": "8"}, 3)
    assert len(writes) == 4


def test_a_lost_answer_is_found_behind_others(server: Server, client: Client) -> None:
    lose_answer(client, lambda: config(client).update(lambda now: {"level": now.level + 1}))
    written = run_blocking(made(client).run(count_up))
    assert (written.revision, written.after) == (2, {"level": "1"})
    assert stored(server) == {"/app/level": b"2"}


def test_a_history_that_is_too_short_cannot_tell(server: Server, client: Client) -> None:
    other = config(client, keep=1)
    lose_answer(client, lambda: other.update(lambda now: {"level": now.level + 1}))
    with pytest.raises(OutcomeUnknown, match="too short"):
        run_blocking(made(client).run(count_up))


def test_a_request_that_arrives_when_nobody_waits_any_more(server: Server, client: Client) -> None:
    """What a stranger put was in its way and is gone; it happens, and is not made again on top of itself."""
    late: list[Txn] = []
    plain = client._commit

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if request.writes and not late:
            late.append(request)
            server.server.put(b"/app/name", b"in the way")
            raise OutcomeUnknown("connection lost")
        if request.writes and len(late) == 1 and request != late[0]:
            server.server.txn(Txn(then=(Delete(b"/app/name"),)))
            assert server.server.txn(late[0]).succeeded
            late.append(request)
        return await plain(request, deadline=deadline)

    client._commit = commit  # type: ignore[method-assign]  # what the test is about
    assert run_blocking(made(client).run(count_up)).after == {"level": "1"}
    assert stored(server) == {"/app/level": b"1"}
    assert len(run_blocking(entries(client, place(), None))) == 1


@pytest.mark.parametrize("trouble", [RequestRefused("no space", code=8), None])
def test_what_may_have_happened_is_told_as_unknown(server: Server, client: Client, trouble: Any) -> None:
    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if not request.writes:
            return server.server.txn(request)
        commits.append(request)
        raise OutcomeUnknown("lost") if trouble is None or len(commits) == 1 else trouble

    commits: list[Txn] = []
    client._commit = commit  # type: ignore[method-assign]  # what the test is about
    with pytest.raises(OutcomeUnknown, match="not known"):
        run_blocking(made(client).run(count_up))


def test_what_cannot_have_happened_is_a_time_out(server: Server, client: Client) -> None:
    client.troubles = [Unavailable("no server")] * 300
    with pytest.raises(CallTimeout, match="was not changed in time"):
        config(client).update(level=1)


def test_an_error_of_the_decision_after_a_lost_answer(server: Server, client: Client) -> None:
    """It may still happen, so that nobody may be told that nothing was written."""
    late: list[Txn] = []

    async def commit(request: Txn, *, deadline: float | None) -> Any:
        if request.writes and not late:
            late.append(request)
            server.server.put(b"/app/name", b"in the way")
            raise OutcomeUnknown("connection lost")
        return server.server.txn(request)

    client._commit = commit  # type: ignore[method-assign]  # what the test is about
    with config(client) as opened, pytest.raises(OutcomeUnknown):
        opened.update(level=1)


# --- the history


def test_history_diff_and_rollback(server: Server, client: Client) -> None:
    opened = config(client, author="me")
    server.server.put(b"/app/level", b"1")
    opened.update(level=2, name="a")
    server.server.put(b"/app/level", b"3")
    opened.update(name="b")
    opened.update(name=DEFAULT)
    found = opened.history()
    assert [(each.revision, each.author, each.changed) for each in found] == [
        (2, "", ("level",)),
        (3, "me", ("level", "name")),
        (4, "", ("level",)),
        (5, "me", ("name",)),
        (6, "me", ("name",)),
    ]
    assert [dict(each.texts) for each in found[:2]] == [{"level": "1"}, {"level": "2", "name": "a"}]
    assert [(each.field, each.before, each.after) for each in opened.diff(2, 3)] == [
        ("level", "1", "2"),
        ("name", None, "a"),
    ]
    assert opened.diff(6) == ()
    change = opened.rollback(3)
    assert (change.new, change.revision) == (Settings(2, "a"), 7)
    assert stored(server) == {"/app/level": b"2", "/app/name": b"a"}
    assert opened.rollback(2).new == Settings(1)
    assert stored(server) == {"/app/level": b"1"}
    assert opened.rollback(2).fields == ()


def test_a_revision_that_is_not_there(client: Client) -> None:
    opened = config(client)
    opened.update(level=1)
    for call in (opened.rollback, opened.diff):
        with pytest.raises(RevisionNotFound) as missing:
            call(77)
        assert (missing.value.revision, missing.value.known) == (77, (2,))


def test_a_rollback_to_what_is_not_valid_any_more(server: Server, client: Client) -> None:
    config(client, dict).update(level=100)
    config(client, dict).update(level=1)
    with pytest.raises(ConfigInvalid):
        config(client).rollback(2)
    assert stored(server) == {"/app/level": b"1"}


def test_the_history_keeps_what_it_is_told_to(server: Server, client: Client) -> None:
    opened = config(client, keep=3)
    for level in range(6):
        opened.update(level=level + 1)
    assert [each.texts["level"] for each in opened.history()] == ["4", "5", "6"]
    assert len(server.server.keys(b"coord/")) == 3
    config(client, keep=1).update(level=9)
    assert len(opened.history()) == 1


def test_strange_entries_are_left_alone(server: Server, client: Client) -> None:
    history = place().history
    for key in (b"x", b"", b"0000000000000007"):
        server.server.put(history + key, b"?")
    opened = config(client)
    opened.update(level=1)
    (entry,) = opened.history()
    assert hash(entry) == hash(entry.revision)
    assert sorted(server.server.keys(history)) == [
        history + key for key in (b"", b"0000000000000007", b"0000000000000008", b"x")
    ]
    server.server.put(history + b"9", b"in the way")
    with pytest.raises(ConfigInvalid, match="delete it"):
        opened.update(level=2)
    for value in (b"[]", b'{"state":{"a":1},"changed":[],"author":""}', b'{"state":{},"changed":[],"author":5}'):
        assert parse_entry(KeyValue(b"k", value)) is None


@pytest.mark.parametrize("prefix", ["", "/", "coord", "coord/x", b"//"])
def test_prefixes_that_cannot_be_meant(client: Client, prefix: Any) -> None:
    with pytest.raises(UsageError):
        Config(client, prefix, dict, Options())


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": True}, {"keep": "x"}, {"author": ""}, {"author": 5}])
def test_options_that_cannot_be_meant(client: Client, options: Any) -> None:
    with pytest.raises(UsageError):
        config(client, **options)
