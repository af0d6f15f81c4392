"""Many at once: nothing is lost, nothing is done twice, watchers see every change in order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from tests.conformance.wire import Wire, compare, end_of, op_delete, op_put


def test_counter_with_compare_and_swap(wire, prefix):
    wire.put(prefix, b"0")

    def add(_):
        while True:
            kv = wire.get(prefix)
            swap = op_put(prefix, b"%d" % (int(kv.value) + 1))
            if wire.txn([compare(prefix, "mod_revision", "=", kv.mod_revision)], [swap]).succeeded:
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(80)))
    kv = wire.get(prefix)
    assert (kv.value, kv.version) == (b"80", 81)


def test_one_of_many_creates_the_key(wire, prefix):
    barrier = threading.Barrier(16)

    def create(number):
        barrier.wait()
        return wire.txn([compare(prefix, "create_revision", "=", 0)], [op_put(prefix, b"%d" % number)]).succeeded

    with ThreadPoolExecutor(16) as pool:
        won = [number for number, succeeded in enumerate(pool.map(create, range(16))) if succeeded]
    assert len(won) == 1
    assert wire.get(prefix).value == b"%d" % won[0]


def test_revisions_of_concurrent_puts_are_all_different(wire, prefix):
    with ThreadPoolExecutor(8) as pool:
        revisions = list(pool.map(lambda number: wire.put(prefix + b"%d" % number).header.revision, range(200)))
    assert len(set(revisions)) == 200
    found = {kv.key: kv.mod_revision for kv in wire.range(prefix, end_of(prefix)).kvs}
    assert found == {prefix + b"%d" % number: revision for number, revision in enumerate(revisions)}


def test_watchers_see_concurrent_puts_in_one_order(wire, prefix):
    streams = [wire.watch() for _ in range(3)]
    for stream in streams:
        stream.create(prefix, end_of(prefix))
    with ThreadPoolExecutor(8) as pool:
        written = sorted(pool.map(lambda number: wire.put(prefix + b"%d" % (number % 5)).header.revision, range(200)))
    for stream in streams:
        assert [event.kv.mod_revision for event in stream.events(200)] == written


def test_watch_that_begins_amid_writes_misses_nothing(wire, prefix):
    first = wire.put(prefix, b"0").header.revision
    stop = threading.Event()
    written = [first]

    def write():
        while not stop.is_set():
            written.append(wire.put(prefix, b"x").header.revision)

    writer = threading.Thread(target=write)
    writer.start()
    begun = []
    try:
        for _ in range(10):
            stream = wire.watch()
            stream.create(prefix, start_revision=first)
            begun.append((stream, list(stream.receive().events)))
    finally:
        stop.set()
        writer.join()
    assert len(written) > 1
    for stream, events in begun:
        while len(events) < len(written):
            events += stream.receive().events
        assert [event.kv.mod_revision for event in events] == written


def test_read_sees_what_another_connection_wrote(wire, prefix):
    other = Wire(wire.server)
    try:
        for number in range(50):
            wire.put(prefix, b"%d" % number)
            assert other.get(prefix).value == b"%d" % number
    finally:
        other.close()


def test_transfers_keep_the_sum(wire, prefix):
    """A transaction is all or nothing, and no reader sees half of it."""
    one, two = prefix + b"1", prefix + b"2"
    wire.txn(success=[op_put(one, b"100"), op_put(two, b"100")])
    stop = threading.Event()
    sums = set()

    def look():
        while not stop.is_set():
            sums.add(sum(int(kv.value) for kv in wire.range(prefix, end_of(prefix)).kvs))

    def move(_):
        while True:
            first, second = wire.range(prefix, end_of(prefix)).kvs
            unchanged = [compare(kv.key, "mod_revision", "=", kv.mod_revision) for kv in (first, second)]
            moved = [op_put(one, b"%d" % (int(first.value) - 1)), op_put(two, b"%d" % (int(second.value) + 1))]
            if wire.txn(unchanged, moved).succeeded:
                return

    reader = threading.Thread(target=look)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, range(40)))
    stop.set()
    reader.join()
    assert sums == {200}
    assert [kv.value for kv in wire.range(prefix, end_of(prefix)).kvs] == [b"60", b"140"]


def test_revoke_against_put_leaves_no_key_behind(wire, prefix):
    """Either the put comes first and its key goes with the lease, or it is refused."""
    refusals: set[str] = set()
    for number in range(20):
        lease = wire.grant(600).ID
        barrier = threading.Barrier(2)

        def put(lease=lease, barrier=barrier, key=prefix + b"%d" % number):
            barrier.wait()
            try:
                wire.put(key, lease=lease)
            except grpc.RpcError as error:
                refusals.add(str(error.details()))

        putting = threading.Thread(target=put)
        putting.start()
        barrier.wait()
        wire.revoke(lease)
        putting.join()
    assert wire.range(prefix, end_of(prefix)).count == 0
    assert refusals <= {"etcdserver: requested lease not found"}


def test_delete_and_put_in_one_txn_are_never_seen_apart(wire, prefix):
    old, new = prefix + b"a", prefix + b"b"
    wire.put(old)
    stop = threading.Event()
    counts = set()

    def look():
        while not stop.is_set():
            counts.add(wire.range(prefix, end_of(prefix)).count)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        wire.txn(success=[op_delete(old), op_put(new)])
        old, new = new, old
    stop.set()
    reader.join()
    assert counts == {1}
