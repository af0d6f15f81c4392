"""The etcd v3 client: state machines without I/O, and thin blocking and asyncio shells around them."""
