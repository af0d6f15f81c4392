"""coord lock: hold a lock, or run a command while holding it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from coord.cli import launch, output
from coord.cli.options import Options, options_of
from coord.errors import LockLost, LockTimeout

if TYPE_CHECKING:
    from coord.recipes.ownership.held import Held

WITH_VALUE = frozenset(("--ttl", "--timeout"))
OPTIONS = WITH_VALUE | {"--no-wait", "-h", "--help"}
"""What `coord lock` itself takes; `coord.cli.main.hoist` lets it stand behind the name too."""

NOT_WON = 75  # EX_TEMPFAIL: try again later
LOST = 76

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_LOOK_SECONDS = 0.1
_TERMINATE_SHARE = 0.3  # of the TTL left: renewals have failed for a while, the command gets time to clean up
_KILL_SHARE = 0.1


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(lock)


def lock(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to lock.", show_default=False)],
    command: Annotated[list[str] | None, typer.Argument(help="Command to run while holding it.")] = None,
    ttl: Annotated[float, typer.Option(help="Seconds after which a holder that died loses it.")] = 10.0,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for it, 0 not to wait; for ever without.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="The same as --timeout 0.")] = False,
) -> None:
    """Hold a lock while a command runs.

    Without a command the lock is held until this one is interrupted. The command sees ETCD_LOCK_KEY and ETCD_LOCK_REV
    (the fence), and its exit code is returned. If the lock is about to be lost it gets SIGTERM, then SIGKILL before the
    lock can pass on; it dies with this process. Exit code 75: not won in time; 76: lost while held.
    """
    words = list(command or [])
    if words[:1] == ["--"]:
        words.pop(0)
    elif words and words[0].startswith("-"):
        raise typer.BadParameter(f"no such option; write -- before a command that begins like one: {words[0]}")
    with stopping_as_exit():
        raise typer.Exit(_locked(options_of(context), name, words, ttl, 0 if no_wait else timeout))


def _locked(options: Options, name: str, command: Sequence[str], ttl: float, timeout: float | None) -> int:
    with options.connect() as client:
        wanted = client.lock(name, ttl=ttl)
        client.get(name)  # to wait for a lock is one thing, to wait for a server that is not there another
        try:
            guard = wanted.acquire(timeout=timeout)
        except LockTimeout as late:
            output.problem(f"coord lock: {output.told(late)}")
            return NOT_WON
        try:
            with guard:
                if command:
                    return _Supervised(guard, command, ttl).run()
                _hold(options, guard)
                return 0
        except LockLost as lost:
            output.problem(f"coord lock: {lost}")
            return LOST


def _hold(options: Options, guard: Held) -> None:
    if options.json:
        output.as_json({"key": output.b64(guard.key), "rev": guard.fence, "lease": guard.lease})
    else:
        output.raw(guard.key)
    guard.lost.wait()
    guard.check()


class _Supervised:
    """A command that may run only while the lock is held."""

    def __init__(self, guard: Held, command: Sequence[str], ttl: float) -> None:
        self._guard = guard
        self._command = command
        self._ttl = ttl
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run it to its end; returns its exit code, as a shell counts it.

        Raises:
            LockLost: the lock was lost; the command was ended before that.
        """
        environment = {
            **os.environ,
            "ETCD_LOCK_KEY": os.fsdecode(self._guard.key),
            "ETCD_LOCK_REV": str(self._guard.fence),
        }
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *self._command], env=environment
        )
        with _handling(_PASSED_ON, self._pass_on):
            ended_by_us = self._watch(self._child)
        if ended_by_us:
            raise self._guard.loss()
        code = self._child.returncode
        return 128 - code if code < 0 else code

    def _watch(self, child: subprocess.Popen[bytes]) -> bool:
        """Wait for the command; True if it had to be ended because the lock was slipping away."""
        asked_to_stop = False
        while True:
            try:
                child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                left = self._guard.remaining()
                if left <= self._ttl * _KILL_SHARE:
                    child.kill()
                    child.wait()
                    return True
                if left <= self._ttl * _TERMINATE_SHARE and not asked_to_stop:
                    output.problem(f"coord lock: cannot renew the lock, {left:.1f} s are left: ending the command")
                    asked_to_stop = True
                    child.terminate()
            else:
                return asked_to_stop

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: signal.Handlers | object) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}  # type: ignore[arg-type]  # typeshed's handler type has no public name
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def stopping_as_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP leave through the same door as Ctrl-C: the lock, or the place in the queue, is given back."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handling((signal.SIGTERM, signal.SIGHUP), leave):
        yield
