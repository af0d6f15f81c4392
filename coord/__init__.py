"""Service discovery and coordination on etcd, with a bundled etcd-compatible server."""
