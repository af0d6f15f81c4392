"""Time limits, transactions and module-level functions, for threads and for asyncio."""

from datetime import timedelta
from typing import assert_type

import coord
from coord.model import TxnResult
from coord.ops import exists, get, missing, mod_revision, put, value

with coord.connect("memory://", timeout=None) as client, coord.use_as_default(client):
    for limit in (None, 0, 1.5, timedelta(seconds=2), coord.DEFAULT):
        client.put("key", "value", timeout=limit)
    done = client.txn().when(value("a") == "1", missing("b")).then(put("a", "2"), get("a")).otherwise(get("a")).commit()
    assert_type(done, TxnResult)
    assert_type(done.succeeded, bool)
    client.txn().when(mod_revision("a") > 1, exists("a")).put("b", b"3").commit(timeout=coord.DEFAULT)
    with coord.lock("stock", ttl=timedelta(seconds=5), timeout=coord.DEFAULT) as held:
        assert_type(held.put("a", "1"), TxnResult)
        assert_type(held.txn().put("a", "1").commit(), TxnResult)
    if (tried := client.lock("stock").try_acquire()) is not None:
        assert_type(tried.release(), bool)
    with coord.register("orders", "a:1"), coord.discover("orders") as view:
        assert_type([each.address for each in view.instances], list[str])


async def work() -> None:
    async with coord.aio.connect("memory://", timeout=timedelta(seconds=2)) as client:
        done = await client.txn().when(missing("a")).then(put("a", "1")).commit(timeout=None)
        assert_type(done, TxnResult)
        async with client.lock("stock", timeout=coord.DEFAULT) as held:
            assert_type(await held.txn().put("a", "1").commit(), TxnResult)
        if (tried := await client.lock("stock").try_acquire()) is not None:
            assert_type(await tried.release(), bool)
        async with client.register("orders", "a:1"), client.discover("orders") as view:
            async for change in view.changes():
                assert_type(change.instance.address, str)
