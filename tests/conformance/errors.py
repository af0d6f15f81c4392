"""Code and text of the refusals, spelled out here once more so that the suite does not judge coord by coord."""

from grpc import StatusCode

KEY_NOT_PROVIDED = (StatusCode.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = (StatusCode.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED = (StatusCode.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED = (StatusCode.INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPS = (StatusCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = (StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
INVALID_SORT = (StatusCode.INVALID_ARGUMENT, "etcdserver: invalid sort option")
TOO_LARGE = (StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large")
BAD_URLS = (StatusCode.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
COMPACTED = (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE = (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
TTL_TOO_LARGE = (StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL")
NO_SPACE = (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
LEASE_NOT_FOUND = (StatusCode.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = (StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists")
MEMBER_NOT_FOUND = (StatusCode.NOT_FOUND, "etcdserver: member not found")
CORRUPT = (StatusCode.DATA_LOSS, "etcdserver: corrupt cluster")
