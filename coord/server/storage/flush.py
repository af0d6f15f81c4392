"""One flush: everything sealed so far, made durable in one synced LMDB transaction by a worker thread."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import lmdb

from coord.server.invariant import invariant
from coord.server.storage.contract import Bucket
from coord.server.storage.errors import BackendFailed, BackendFull
from coord.server.storage.files import DatabasePlace
from coord.server.storage.overlay import Layer
from coord.server.storage.reader import APPLIED_INDEX, APPLIED_TERM, FORMAT_KEY

FORMAT = 1
_NEARLY_FULL = 4 << 20
PLANNED, DONE, FULL, FAILED = "planned", "done", "full", "failed"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of an environment: taken from the file system, and in use by records."""

    allocated: int
    in_use: int


class FlushJob:
    """What `LmdbBackend.begin_flush` hands to a worker.

    Attributes:
        applied: (index, term) that the disk holds once it ran.
        state: how far it is; written by the worker, read by the loop after the worker reported.
        sizes: of the environment after it ran.
    """

    def __init__(
        self,
        environment: lmdb.Environment,
        databases: Mapping[Bucket, Any],
        place: DatabasePlace,
        layers: Mapping[Bucket, Layer],
        applied: tuple[int, int],
    ) -> None:
        self.applied = applied
        self.state = PLANNED
        self.sizes = Sizes(0, 0)
        self._environment = environment
        self._databases = databases
        self._place = place
        self._layers = layers

    def run(self) -> None:
        """Write, commit and sync; on a worker thread.

        Raises:
            BackendFull: no space; `begin_flush` gives the job out again.
            BackendFailed: the disk failed in another way, and this process must end.
        """
        invariant(self.state in (PLANNED, FULL), "a flush runs once", state=self.state)
        self.state = FAILED
        try:
            with self._environment.begin(write=True) as transaction:
                self._write(transaction)
            # Only now is it on the disk: leaving the block committed, and LMDB synced.
            self._place.committed(self._environment.copy)
        except (lmdb.Error, OSError) as error:
            raise self._failure(error) from error
        self.sizes = measure(self._environment, self._databases)
        self.state = DONE

    def _write(self, transaction: lmdb.Transaction[bytes]) -> None:
        for bucket, layer in self._layers.items():
            database = self._databases[bucket]
            if layer.values:
                with transaction.cursor(database) as cursor:
                    cursor.putmulti(layer.values.items())
            if layer.gone:
                # maxlen=0 runs the map to its end in C; a loop would take the interpreter from the server's own.
                deque(map(partial(transaction.delete, db=database), layer.gone), maxlen=0)
        write_position(transaction, self._databases[Bucket.META], self.applied)

    def _failure(self, error: Exception) -> BackendFull | BackendFailed:
        full = isinstance(error, lmdb.MapFullError) or error_number(error) in (errno.ENOSPC, errno.EDQUOT)
        if full or self._cut_short(error):
            self.state = FULL
            return BackendFull(f"no space to flush up to {self.applied[0]}: {error}")
        return BackendFailed(f"a flush up to {self.applied[0]} failed: {error}")

    def _cut_short(self, error: Exception) -> bool:
        """Whether a write took only a part because the disk is full, which LMDB reports as an input/output error.

        Trying again is safe: the transaction was given up, and the next one writes every page of it anew.
        """
        if not isinstance(error, lmdb.Error) or os.strerror(errno.EIO) not in str(error):
            return False
        facts = os.statvfs(self._environment.path())
        return facts.f_bavail * facts.f_frsize < _NEARLY_FULL


def write_position(transaction: lmdb.Transaction[bytes], meta: Any, applied: tuple[int, int]) -> None:
    """Store the applied position in the same transaction as the effects it stands for."""
    index, term = applied
    transaction.put(APPLIED_INDEX, index.to_bytes(8, "big"), db=meta)
    transaction.put(APPLIED_TERM, term.to_bytes(8, "big"), db=meta)
    transaction.put(FORMAT_KEY, FORMAT.to_bytes(2, "big"), db=meta)


def error_number(error: Exception) -> int | None:
    """The errno behind `error`; LMDB names it only in its text."""
    if isinstance(error, OSError):
        return error.errno
    text = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            return number
    return None


def measure(environment: lmdb.Environment, databases: Mapping[Bucket, Any]) -> Sizes:
    """The sizes as of the last commit."""
    page = environment.stat()["psize"]
    pages = 2  # the two meta pages
    with environment.begin() as transaction:
        for database in (None, *databases.values()):
            facts = transaction.stat(database) if database is not None else environment.stat()
            pages += facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"]
    return Sizes((environment.info()["last_pgno"] + 1) * page, pages * page)
