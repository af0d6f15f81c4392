"""Becomes the command that `coord lock` runs, after asking the kernel to end it together with its parent.

Run as a script by the parent: doing this between fork and exec of a process that has threads is not safe in Python.
PR_SET_PDEATHSIG is not inherited by the command's own children; a command that starts others must end them itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process by `command`, tied to the life of process `parent`.

    Raises:
        OSError: the command cannot be run, or the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the request above: nobody would tell us then.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except OSError as failure:
        sys.stderr.write(f"coord lock: cannot run {sys.argv[2]}: {failure.strerror}\n")
        sys.exit(127 if isinstance(failure, FileNotFoundError) else 126)
