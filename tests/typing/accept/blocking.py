"""What users write with the blocking client."""

from typing import assert_type

import coord
from coord.recipes.elections.leadership import Leadership

with coord.connect("memory://", namespace="/app", timeout=2.0) as client:
    client.put("key", "value")
    client.put(b"key", b"value")
    found = client.get("key")
    assert_type(found, coord.KeyValue | None)
    if found is not None:
        assert_type(found.value, bytes)

    with client.lock("stock", ttl=5, timeout=1) as held:
        assert_type(held.fence, int)
        assert_type(held.remaining(), float)
        held.check()

    with client.rwlock("stock").read() as reading, client.rwlock("stock").write() as held:
        assert_type(reading.fence, int)
        assert_type(held.remaining(), float)
    with client.locks("a", "b", timeout=1) as both:
        assert_type(both.fences["a"], int)
    client.barrier("gate").wait(timeout=1)
    assert_type(client.barrier("gate").closed(), bool)
    assert_type(client.latch("ready", 3).count_down(), int)
    with client.rlock("stock", owner="job-7") as held:
        assert_type(held.depth, int)

    @client.synchronized("user/{user_id}", timeout=1)
    def work(user_id: int) -> str:
        return str(user_id)

    assert_type(work(7), str)
    with client.double_barrier("round", 1, ttl=5, timeout=1) as member:
        assert_type(member.parties, int)
    with client.semaphore("pool", 3) as held:
        assert_type(held.fence, int)

    mail = client.queue("mail", tries=3, hold=60)
    assert_type(mail.put("x"), str)
    with mail.take(timeout=5) as job:
        assert_type(job.value, bytes)
        job.extend()
    for each in mail:
        each.nack(delay=3)
    assert_type(len(mail), int)
    client.priority_queue("mail").put(b"x", priority=5)
    client.delay_queue("mail").put("x", delay=5)
    client.queue("mail", capacity=5, window=60).put("x", key="k")
    client.gated_queue("mail", count=3, task="start").go()

try:
    with coord.lock("/my-lock"):
        pass
except coord.LockTimeout as error:
    assert_type(error.retryable, bool)
except coord.CoordError as error:
    assert_type(error.outcome_known, bool)

with coord.election("cron").lead("me") as leader:
    assert_type(leader.term, int)
    leader.proclaim("still me")
    leader.transfer("other", timeout=3)

election = coord.election("cron")
assert_type(election.resign(), bool)
for leading in election.observe():
    if leading is not None:
        assert_type(leading.text, str)
for transition in election.transitions(interval=2.5):
    assert_type(transition.report.leads, bool)
    if transition.leader is not None:
        transition.leader.resign()


@election.leader_only
def nightly(leads: Leadership, day: int) -> str:
    return f"{leads.term} {day}"


assert_type(nightly(7), str)
