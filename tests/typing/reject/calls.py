"""Mistakes with time limits, transactions and guards."""

import coord
from coord.ops import put, value

client = coord.connect("memory://")
client.put("key", "value", timeout="5")  # expect: arg-type
client.lock("stock", timeout="soon")  # expect: arg-type
client.txn().when(put("a", "1"))  # expect: arg-type
client.txn().then(value("a") == "1")  # expect: arg-type
client.lock("stock").try_acquire().release()  # expect: union-attr
with client.lock("stock") as held:
    held.put("a", 1)  # expect: arg-type
    held.fences  # expect: attr-defined


async def work() -> None:
    other = coord.aio.connect("memory://")
    other.txn().commit().succeeded  # expect: attr-defined
    async with other.lock("stock") as held:
        held.release().real  # expect: attr-defined
