"""The matrix: every recipe x {blocking, asyncio} x {bundled, etcd 3.4, etcd 3.5} x {what may happen}.

    make matrix                                        # all of it, with a table at the end
    pytest tests/matrix --recipes=lock --servers=bundled

A recipe's story is told once for both faces (`tests.matrix.story`). Its actors are processes of their own, since what
may happen is that one of them is killed or interrupted, or that the server is killed and started again.
"""
