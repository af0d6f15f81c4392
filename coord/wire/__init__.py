"""The etcd v3 wire: messages, method paths, conversion and error translation."""
