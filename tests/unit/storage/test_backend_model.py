"""Random writes, flushes in every state, crashes: the backend always reads like a dict, and after a crash like the dict
was at the position of the last synced commit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coord.server.storage.backend import FlushJob, LmdbBackend
from coord.server.storage.contract import Bucket
from coord.server.storage.lossy import LossyFiles

BUCKETS = (Bucket.KEY, Bucket.LEASE)
# Few keys: what matters is one key written, deleted and written again through the layers.
keys = st.sampled_from([b"a", b"b", b"ba", b"c"]) | st.binary(min_size=1, max_size=2)
buckets = st.sampled_from(BUCKETS)
State = dict[Bucket, dict[bytes, bytes]]


class BackendModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.files = LossyFiles()
        self.backend = self._open()
        self.now: State = {bucket: {} for bucket in BUCKETS}
        self.at: dict[int, State] = {0: self._copy()}  # by sealed index
        self.synced = 0
        self.job: FlushJob | None = None
        self.ran = False

    def _open(self) -> LmdbBackend:
        return LmdbBackend.open(self.files, Path(self.directory.name), map_size=1 << 24)

    def _copy(self) -> State:
        return {bucket: dict(records) for bucket, records in self.now.items()}

    @rule(bucket=buckets, key=keys, value=st.binary(max_size=3))
    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        self.backend.put(bucket, key, value)
        self.now[bucket][key] = value

    @rule(bucket=buckets, key=keys)
    def delete(self, bucket: Bucket, key: bytes) -> None:
        self.backend.delete(bucket, key)
        self.now[bucket].pop(key, None)

    @rule(bucket=buckets, place=st.integers(0, 1000))
    def delete_one_that_exists(self, bucket: Bucket, place: int) -> None:
        if self.now[bucket]:
            key = sorted(self.now[bucket])[place % len(self.now[bucket])]
            self.delete(bucket, key)

    @rule()
    def seal(self) -> None:
        index = self.backend.applied[0] + 1
        self.backend.seal(index, 1)
        self.at[index] = self._copy()

    @precondition(lambda self: self.job is None)
    @rule()
    def begin_flush(self) -> None:
        self.job = self.backend.begin_flush()
        self.ran = False

    @precondition(lambda self: self.job is not None and not self.ran)
    @rule()
    def run_flush(self) -> None:
        assert self.job is not None
        self.job.run()
        self.ran = True
        self.synced = self.job.applied[0]

    @precondition(lambda self: self.ran)
    @rule()
    def finish_flush(self) -> None:
        assert self.job is not None
        self.backend.finish_flush(self.job)
        self.job, self.ran = None, False

    @rule()
    def flush_now(self) -> None:
        if self.job is None:
            self.backend.flush()
            self.synced = self.backend.durable_applied[0]

    @rule()
    def crash(self) -> None:
        old = self.backend
        self.files = self.files.crash()
        old._reading.abort()
        old._environment.close()
        self.backend = self._open()
        self.job, self.ran = None, False
        assert self.backend.applied[0] == self.synced
        self.now = {bucket: dict(records) for bucket, records in self.at[self.synced].items()}

    @rule(bucket=buckets, start=keys, end=st.none() | keys)
    def scan(self, bucket: Bucket, start: bytes, end: bytes | None) -> None:
        wanted = sorted(i for i in self.now[bucket].items() if i[0] >= start and (end is None or i[0] < end))
        assert list(self.backend.scan(bucket, start, end)) == wanted

    @rule()
    def read_the_durable_state(self) -> None:
        with self.backend.snapshot_reader() as reader:
            assert reader.applied[0] == self.synced
            for bucket in BUCKETS:
                assert dict(reader.scan(bucket)) == self.at[self.synced][bucket]

    @invariant()
    def reads_like_the_dict(self) -> None:
        for bucket, records in self.now.items():
            assert list(self.backend.scan(bucket)) == sorted(records.items())
            assert self.backend.get_many(bucket, list(records)) == list(records.values())
            assert all(self.backend.get(bucket, key) == value for key, value in records.items())
        assert self.backend.durable_applied[0] <= self.synced <= self.backend.applied[0]

    def teardown(self) -> None:
        self.backend._reading.abort()
        self.backend._environment.close()
        self.directory.cleanup()


BackendModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBackendModel = BackendModel.TestCase
