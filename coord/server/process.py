"""The life of a process that is a server: from a checked configuration to its death by the signal that ended it.

Only a process that is nothing but a server may come here: limits, log handlers, signal handlers and the garbage
collector belong to the whole process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Callable

from coord.errors import CoordError
from coord.server import logs
from coord.server.member.collector import LOOK_SECONDS, Collector, take_over
from coord.server.member.periodic import Periodic
from coord.server.server import Server, StartError
from coord.server.settings.config import ServerConfig

_log = logs.logger(__name__)

# A hand-over between the loop and the thread that writes the log takes up to this long under load. With Python's
# default of 5 ms a put waited 10 ms for a disk that needed 0.3 ms.
_SWITCH_SECONDS = 0.0002
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}


def serve(
    config: ServerConfig,
    *,
    on_idle: Callable[[Server], bool] | None = None,
    on_ready: Callable[[Server], None] | None = None,
) -> int:
    """Run a server until a signal, its idle stop or a failure; returns the exit code.

    After a signal this does not return: the process dies by the same signal, so that whoever waits for it sees what
    etcd would show.

    Args:
        config: a validated configuration.
        on_idle: asked on the server's loop when it has been idle for ``config.idle_stop_s``; True stops it.
        on_ready: called on the server's loop once clients are served.
    """
    try:
        handlers = logs.configure(config.log_level, config.log_format, config.log_outputs)
    except OSError as error:
        sys.stderr.write(f"cannot open the log output: {error}\n")
        return 1
    try:
        code, ended_by = _run(config, on_idle, on_ready)
    finally:
        logs.release(handlers)
        sys.stderr.flush()
    if ended_by is not None and os.getpid() != 1:
        # The first process of a container cannot kill itself.
        signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    return code


def _run(
    config: ServerConfig,
    on_idle: Callable[[Server], bool] | None,
    on_ready: Callable[[Server], None] | None,
) -> tuple[int, signal.Signals | None]:
    sys.setswitchinterval(_SWITCH_SECONDS)
    raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_life(config, on_idle, on_ready))


async def _life(
    config: ServerConfig,
    on_idle: Callable[[Server], bool] | None,
    on_ready: Callable[[Server], None] | None,
) -> tuple[int, signal.Signals | None]:
    for warning in config.warnings:
        _log.warning(warning)
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []
    server = Server(config, on_idle=on_idle)

    def on_signal(number: signal.Signals) -> None:
        # A second signal ends the process at once; what was acknowledged is on the disk.
        for one in _SIGNALS:
            loop.remove_signal_handler(one)
            signal.signal(one, signal.SIG_DFL)
        received.append(number)
        _log.info("received signal; shutting down", signal=_NAMES[number])
        server.request_stop()

    for one in _SIGNALS:
        loop.add_signal_handler(one, on_signal, one)
    try:
        await server.start()
    except (StartError, CoordError, OSError) as error:
        _log.fatal("failed to start etcd", error=str(error))
        await server.stop()
        return 1, None
    take_over()
    collector = Periodic(loop, LOOK_SECONDS, Collector(lambda: server.calls).look, server.fail)
    collector.start()
    _tell_ready(config.ready_fd)
    if on_ready is not None:
        on_ready(server)
    await server.wait_stopping()
    collector.stop()
    try:
        await server.stop()
    except (CoordError, OSError) as error:
        # What was acknowledged is in the log; the next start finds it there.
        _log.fatal("failed to stop in order", error=str(error))
        return 1, None
    if server.failure is not None:
        return 1, None
    return 0, received[0] if received else None


def _tell_ready(fd: int) -> None:
    """Tell the starter, who may have gone meanwhile."""
    if fd < 0:
        return
    try:
        os.write(fd, b"ready\n")
        os.close(fd)
    except OSError as error:
        _log.warning("cannot tell the starter that clients are served", fd=fd, error=str(error))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def raise_file_limit() -> None:
    """Allow as many open files as the kernel lets us: every client is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
