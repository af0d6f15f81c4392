"""The etcd v3 wire: messages, method paths, conversion, error translation. Only this package and the server touch protobuf."""
