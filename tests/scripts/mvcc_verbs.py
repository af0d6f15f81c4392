"""The verbs of the MVCC scripts: a state machine without log, disk or network, told line by line.

Keys are words. A range is `a..b` (b excluded), `a..` (open), `a*` (prefix); `value=` and the like are options.
"""

from __future__ import annotations

from typing import Any

from coord.keys import EVERYTHING, prefix_end
from coord.server.machine import validate
from coord.server.mvcc.records import decode_record, is_tombstone, main_sub_of, record_key
from coord.server.storage.contract import Bucket
from coord.statuses import Refused
from coord.wire import rpc_pb2 as pb
from tests.unit.mvcc.watching import line as watch_line
from tests.unit.mvcc.watching import responses
from tests.unit.server.machine import Machine

OPERATORS = {"=": pb.Compare.EQUAL, "!=": pb.Compare.NOT_EQUAL, ">": pb.Compare.GREATER, "<": pb.Compare.LESS}
TARGETS = {"version": 0, "create": 1, "mod": 2, "value": 3, "lease": 4}
OPERAND = ("version", "create_revision", "mod_revision", "value", "lease")


class Interpreter:
    """One script's world."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.streams: dict[str, Any] = {}

    def __call__(self, lines: list[str]) -> str:
        if lines[0] == "txn":
            return self.guarded(lambda: self.txn(lines[1:]))
        return "\n".join(filter(None, (self.one(line) for line in lines)))

    def one(self, line: str) -> str:
        verb, *words = line.split()
        names = [word for word in words if "=" not in word]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        return self.guarded(lambda: self.verb(verb, names, options))

    def guarded(self, action: Any) -> str:
        try:
            return str(action())
        except Refused as refused:
            return f"refused: {refused.status.text}"

    def verb(self, verb: str, names: list[str], options: dict[str, str]) -> str:
        sm = self.machine.sm
        match verb, names:
            case "put", _:  # put k v [lease=7] [prev=1] [ignore_value=1] [ignore_lease=1]
                writing = put(names, options)
                validate.check_put(writing)
                return self.write(put=writing)
            case "del", [key]:  # del k | del a..b [prev=1]
                return self.write(delete_range=delete(key, options))
            case "get", [key]:  # get k | get a* [rev=3] [limit=2] [sort=mod] [desc=1] [keys=1] [count=1]
                request = read(key, options)
                validate.check_range(request)
                return shown(pb.RangeResponse.FromString(sm.range(request)))
            case "compact", [revision]:  # compact 5
                return self.write(compaction=pb.CompactionRequest(revision=int(revision)))
            case "scrub", []:  # scrub: finish compaction physically
                for _ in sm.compaction_steps():
                    self.machine.check()
                return f"scrubbed {sm.scrubbed_revision}"
            case "log", []:  # log: the records on disk
                return "\n".join(stored(*pair) for pair in self.machine.backend.scan(Bucket.KEY))
            case "hash", _:  # hash [rev=3]
                response = sm.hash_kv(int(options.get("rev", 0)))
                return f"hash {response.hash} compacted {response.compact_revision}"
            case "restart", []:  # restart: a new process on the same disk
                self.machine, self.streams = self.machine.restarted(), {}
                self.machine.check()
                return f"revision {self.machine.sm.revision} compacted {self.machine.sm.compact_revision}"
            case _:
                return self.lease_verb(verb, names) or self.watch_verb(verb, names, options)

    def lease_verb(self, verb: str, names: list[str]) -> str:
        machine, sm = self.machine, self.machine.sm
        match verb, names:
            case "grant", [lease, ttl]:  # grant 7 60
                return self.write(lease_grant=pb.LeaseGrantRequest(ID=int(lease), TTL=int(ttl)))
            case "revoke", [lease]:  # revoke 7
                return self.write(lease_revoke=pb.LeaseRevokeRequest(ID=int(lease)))
            case "renew", [lease]:  # renew 7
                return f"ttl {sm.lease_keep_alive(pb.LeaseKeepAliveRequest(ID=int(lease))).TTL}"
            case "ttl", [lease]:  # ttl 7
                response = sm.lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=int(lease), keys=True))
                return f"ttl {response.TTL} of {response.grantedTTL} keys {[key.decode() for key in response.keys]}"
            case "clock", [seconds]:  # clock 5: so many seconds pass; what is due is revoked
                machine.now += float(seconds)
                due = sm.lessor.due(machine.now)
                for lease_id in due:
                    machine.revoke(lease_id)
                return f"due {due}"
            case _:
                return ""

    def watch_verb(self, verb: str, names: list[str], options: dict[str, str]) -> str:
        hub = self.machine.sm.watch_hub
        match verb, names:
            case "watch", [stream, key]:  # watch s a* [from=2] [prev=1] [id=5] [progress=1] [fragment=1]
                if stream not in self.streams:
                    self.streams[stream] = hub.open(lambda: None)
                start, end = span(key)
                self.streams[stream].create(
                    pb.WatchCreateRequest(
                        key=start,
                        range_end=end,
                        start_revision=int(options.get("from", 0)),
                        watch_id=int(options.get("id", 0)),
                        prev_kv="prev" in options,
                        progress_notify="progress" in options,
                        fragment="fragment" in options,
                        filters=[{"put": 0, "delete": 1}[options["without"]]] if "without" in options else [],  # type: ignore[list-item]  # the wire has ints
                    )
                )
                return ""
            case "read", [stream]:  # read s: catch up, then show what waits
                while hub.catch_up():
                    hub.check()
                return "\n".join(watch_line(response) for response in responses(self.streams[stream]))
            case "cancel", [stream, watch_id]:  # cancel s 0
                self.streams[stream].cancel(int(watch_id))
                return ""
            case "progress", [stream]:  # progress s
                self.streams[stream].progress()
                return ""
            case "tick", [stream]:  # tick s: the progress interval passed
                self.streams[stream].tick_progress()
                return ""
            case _:
                raise AssertionError(f"unknown command: {verb} {names}")

    def write(self, **body: Any) -> str:
        response = self.machine.apply(**body)
        parts = [f"revision {response.header.revision}"]
        if "delete_range" in body:
            parts.append(f"deleted {response.deleted}")
        if "lease_grant" in body:
            parts.append(f"ttl {response.TTL}")
        previous = list(getattr(response, "prev_kvs", ()))
        if body.get("put") is not None and response.HasField("prev_kv"):
            previous = [response.prev_kv]
        return "\n".join([" ".join(parts), *("was " + text(kv) for kv in previous)])

    def txn(self, lines: list[str]) -> str:
        """`if k mod > 3`, `then put k v`, `else get k`; one each line, nesting is left to the unit tests."""
        request = pb.TxnRequest()
        for line in lines:
            branch, verb, *words = line.split()
            if branch == "if":
                target, operator, value = words
                start, end = span(verb)
                compare = request.compare.add(key=start, range_end=end)
                compare.target = TARGETS[target]  # type: ignore[assignment]  # the wire has ints
                compare.result = OPERATORS[operator]
                setattr(compare, OPERAND[compare.target], value.encode() if target == "value" else int(value))
                continue
            names = [word for word in words if "=" not in word]
            options = dict(word.split("=", 1) for word in words if "=" in word)
            operation = (request.success if branch == "then" else request.failure).add()
            match verb:
                case "put":
                    operation.request_put.CopyFrom(put(names, options))
                case "del":
                    operation.request_delete_range.CopyFrom(delete(names[0], options))
                case "get":
                    operation.request_range.CopyFrom(read(names[0], options))
                case _:
                    raise AssertionError(f"unknown operation: {line}")
        validate.check_txn(request, 128)
        return txn_text(self.machine.apply(txn=request))


def span(word: str) -> tuple[bytes, bytes]:
    if word.endswith("*"):
        prefix = word[:-1].encode()
        return (prefix or b"\0", prefix_end(prefix))
    start, dots, end = word.partition("..")
    return start.encode() or (b"\0" if dots else b""), (end.encode() or EVERYTHING) if dots else b""


def put(names: list[str], options: dict[str, str]) -> pb.PutRequest:
    return pb.PutRequest(
        key=names[0].encode(),
        value=names[1].encode() if len(names) > 1 else b"",
        lease=int(options.get("lease", 0)),
        prev_kv="prev" in options,
        ignore_value="ignore_value" in options,
        ignore_lease="ignore_lease" in options,
    )


def delete(word: str, options: dict[str, str]) -> pb.DeleteRangeRequest:
    start, end = span(word)
    return pb.DeleteRangeRequest(key=start, range_end=end, prev_kv="prev" in options)


def read(word: str, options: dict[str, str]) -> pb.RangeRequest:
    start, end = span(word)
    request = pb.RangeRequest(key=start, range_end=end)
    request.revision, request.limit = int(options.get("rev", 0)), int(options.get("limit", 0))
    request.keys_only, request.count_only = "keys" in options, "count" in options
    if "sort" in options:
        request.sort_target = getattr(pb.RangeRequest, options["sort"].upper())
        request.sort_order = pb.RangeRequest.DESCEND if "desc" in options else pb.RangeRequest.ASCEND
    for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
        setattr(request, bound, int(options.get(bound, 0)))
    return request


def text(kv: Any) -> str:
    lease = f" lease {kv.lease}" if kv.lease else ""
    return (
        f"{kv.key.decode()}={kv.value.decode()} create {kv.create_revision} mod {kv.mod_revision} v{kv.version}{lease}"
    )


def shown(response: pb.RangeResponse) -> str:
    more = " more" if response.more else ""
    head = f"revision {response.header.revision} count {response.count}{more}"
    return "\n".join([head, *map(text, response.kvs)])


def txn_text(response: pb.TxnResponse) -> str:
    lines = [f"revision {response.header.revision} {'succeeded' if response.succeeded else 'failed'}"]
    for one in response.responses:
        match one.WhichOneof("response"):
            case "response_range":
                lines += ["get " + part for part in shown(one.response_range).split("\n")]
            case "response_put":
                lines.append(f"put revision {one.response_put.header.revision}")
            case "response_delete_range":
                answer = one.response_delete_range
                lines.append(f"del revision {answer.header.revision} deleted {answer.deleted}")
            case other:
                lines.append(str(other))
    return "\n".join(lines)


def stored(key: bytes, record: bytes) -> str:
    main, sub = main_sub_of(key)
    if is_tombstone(key):
        return f"{main}/{sub} delete {record_key(record).decode()}"
    kv = decode_record(record)
    return f"{main}/{sub} put {kv.key.decode()}={kv.value.decode()} create {kv.create} v{kv.version}"
