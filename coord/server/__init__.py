"""The bundled etcd-compatible server."""
