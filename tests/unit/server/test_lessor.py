from __future__ import annotations

import random

import pytest

from coord.server.machine.lessor import MAX_TTL, Lessor
from coord.server.storage.contract import Bucket
from coord.server.storage.memory import MemoryBackend
from coord.statuses import LEASE_EXISTS, LEASE_NOT_FOUND, LEASE_TTL_TOO_LARGE, Refused


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def lessor(backend):
    lessor = Lessor(backend, min_ttl=2)
    lessor.promote(0.0, 0.0)
    return lessor


def restarted(backend: MemoryBackend) -> Lessor:
    lessor = Lessor(backend, min_ttl=2)
    lessor.load()
    return lessor


# --- grant


@pytest.mark.parametrize(("asked", "granted"), [(0, 2), (-5, 2), (1, 2), (2, 2), (3, 3), (MAX_TTL, MAX_TTL)])
def test_a_ttl_below_the_minimum_is_raised(lessor, asked, granted):
    assert lessor.grant(1, asked, 0.0) == granted
    assert lessor.granted(1) == granted


def test_a_ttl_above_the_maximum_is_refused_even_for_a_taken_id(lessor):
    lessor.grant(1, 5, 0.0)
    with pytest.raises(Refused) as refused:
        lessor.grant(1, MAX_TTL + 1, 0.0)
    assert refused.value.status == LEASE_TTL_TOO_LARGE


def test_a_taken_id_is_refused_and_the_lease_stays(lessor):
    lessor.grant(1, 5, 0.0)
    with pytest.raises(Refused) as refused:
        lessor.grant(1, 50, 0.0)
    assert refused.value.status == LEASE_EXISTS
    assert lessor.granted(1) == 5


def test_negative_ids_are_ids_and_zero_is_none(lessor, backend):
    lessor.grant(-7, 5, 0.0)
    assert -7 in lessor
    assert restarted(backend).granted(-7) == 5
    with pytest.raises(Refused) as refused:
        lessor.grant(0, 5, 0.0)
    assert refused.value.status == LEASE_NOT_FOUND


# --- expiry


def test_a_lease_is_due_when_its_time_is_over_and_not_before(lessor):
    lessor.grant(1, 5, 100.0)
    assert lessor.next_due() == 105.0
    assert lessor.due(104.999) == []
    assert lessor.due(105.0) == [1]


def test_due_leases_come_in_the_order_they_ran_out(lessor):
    for lease, ttl in ((1, 9), (2, 3), (3, 6)):
        lessor.grant(lease, ttl, 0.0)
    assert lessor.due(100.0) == [2, 3, 1]


def test_no_more_than_the_limit_is_due_at_once(lessor):
    for lease in range(1, 11):
        lessor.grant(lease, 5, 0.0)
    assert len(lessor.due(9.0, limit=4)) == 4
    assert len(lessor.due(9.0, limit=4)) == 4
    assert len(lessor.due(9.0, limit=4)) == 2
    assert lessor.revoking == 10


def test_what_is_not_revoked_is_due_again_after_three_seconds(lessor):
    lessor.grant(1, 5, 0.0)
    assert lessor.due(5.0) == [1]
    assert lessor.due(7.9) == []
    assert lessor.due(8.0) == [1]
    lessor.forget(1)
    assert lessor.due(20.0) == []
    assert lessor.revoking == 0


def test_a_renewed_lease_is_not_due(lessor):
    lessor.grant(1, 5, 0.0)
    assert lessor.renew(1, 4.0) == 5
    assert lessor.due(8.9) == []
    assert lessor.due(9.0) == [1]


def test_a_lease_that_ran_out_cannot_be_renewed(lessor):
    lessor.grant(1, 5, 0.0)
    assert lessor.renew(1, 5.0) == 0
    assert lessor.is_expired(1, 5.0)
    assert lessor.due(5.0) == [1]
    assert lessor.renew(1, 5.5) == 0


def test_an_unknown_lease_renews_to_zero(lessor):
    assert lessor.renew(9, 0.0) == 0
    assert not lessor.is_expired(9, 0.0)


def test_an_id_granted_again_is_not_due_at_its_old_time(lessor):
    lessor.grant(1, 5, 0.0)
    lessor.forget(1)
    lessor.grant(1, 100, 1.0)
    assert lessor.due(50.0) == []
    assert lessor.due(101.0) == [1]


def test_remaining_time_counts_down_to_zero(lessor):
    lessor.grant(1, 100, 0.0)
    assert lessor.remaining(1, 0.5) == 99.5
    assert lessor.remaining(1, 500.0) == 0.0


def test_leases_are_listed_nearest_expiry_first(lessor):
    for lease, ttl in ((1, 50), (2, 10), (3, 30)):
        lessor.grant(lease, ttl, 0.0)
    assert lessor.ids() == [2, 3, 1]
    lessor.renew(3, 25.0)
    assert lessor.ids() == [2, 1, 3]


# --- pauses


def test_a_pause_of_the_process_lengthens_every_lease(lessor):
    lessor.grant(1, 5, 0.0)
    lessor.grant(2, 7, 0.0)
    lessor.lengthen_all(60.0)
    assert lessor.due(64.9) == []
    assert lessor.remaining(1, 64.0) == 1.0
    assert lessor.due(65.0) == [1]
    lessor.grant(3, 5, 65.0)
    assert lessor.next_due() == 67.0
    assert lessor.due(70.0) == [2, 1, 3]


def test_a_lease_whose_revocation_is_on_its_way_is_not_brought_back_by_a_pause(lessor):
    lessor.grant(1, 5, 0.0)
    lessor.attach(1, b"lock")
    assert lessor.due(5.0) == [1]
    lessor.lengthen_all(60.0)
    assert lessor.renew(1, 65.1) == 0, "its holder would be told that it lives, and the keys go all the same"
    assert lessor.is_expired(1, 65.1)
    assert lessor.remaining(1, 64.0) == 0.0
    assert lessor.due(68.0) == [1], "a revocation that got lost is tried again"


def test_nothing_is_kept_of_leases_that_are_gone(lessor):
    for lease in range(1, 1001):
        lessor.grant(lease, MAX_TTL, 0.0)
        lessor.renew(lease, 1.0)
        lessor.forget(lease)
    assert lessor.next_due() is None
    lessor.self_check()


# --- leaders


def test_before_promotion_nothing_is_due_and_the_full_ttl_remains(backend):
    lessor = Lessor(backend)
    lessor.grant(1, 5, 0.0)
    assert not lessor.primary
    assert lessor.due(1e9) == []
    assert lessor.next_due() is None
    assert lessor.remaining(1, 1e9) == 5.0


def test_promotion_gives_every_lease_its_full_time_and_an_election(lessor, backend):
    lessor.grant(1, 10, 0.0)
    again = restarted(backend)
    again.promote(9.0, 1.0)
    assert again.remaining(1, 9.0) == 11.0
    assert again.due(19.9) == []
    assert again.due(20.0) == [1]


def test_promotion_uses_what_a_checkpoint_said(lessor, backend):
    lessor.grant(1, 1000, 0.0)
    lessor.checkpoint(1, 300)
    lessor.checkpoint(99, 300)
    again = restarted(backend)
    again.promote(0.0, 0.0)
    assert again.remaining(1, 0.0) == 300.0
    again.renew(1, 1.0)
    again.promote(1.0, 0.0)
    assert again.remaining(1, 1.0) == 1000.0


def test_checkpoints_are_for_long_leases(lessor):
    lessor.grant(1, 1000, 0.0)
    lessor.grant(2, 200, 0.0)
    assert lessor.checkpoints(10.0) == [(1, 990)]


def test_a_demoted_member_revokes_nothing(lessor):
    lessor.grant(1, 5, 0.0)
    lessor.due(5.0)
    lessor.demote()
    assert lessor.due(100.0) == []
    assert lessor.revoking == 0
    lessor.promote(100.0, 0.0)
    assert lessor.due(105.0) == [1]


def test_many_leases_do_not_all_run_out_in_one_second_after_a_promotion(backend):
    lessor = Lessor(backend)
    for lease in range(1, 4001):
        lessor.grant(lease, 10, 0.0)
    lessor.promote(0.0, 0.0)
    lessor.self_check()
    due = []
    for second in range(8):
        found = lessor.due(10.0 + second, limit=10_000)
        due.append(len(found))
        for lease in found:
            lessor.forget(lease)
    assert sum(due) == 4000
    assert max(due) <= 750
    few = Lessor(MemoryBackend())
    for lease in range(1, 900):
        few.grant(lease, 10, 0.0)
    few.promote(0.0, 0.0)
    assert len(few.due(10.0, limit=10_000)) == 899


# --- keys


def test_a_key_is_tied_to_one_lease_at_most(lessor):
    lessor.grant(1, 5, 0.0)
    lessor.grant(2, 5, 0.0)
    lessor.attach(1, b"k")
    lessor.attach(1, b"k")
    lessor.attach(1, b"j")
    assert lessor.keys_of(1) == [b"j", b"k"]
    lessor.attach(2, b"k")
    assert (lessor.keys_of(1), lessor.keys_of(2)) == ([b"j"], [b"k"])
    assert lessor.lease_of(b"k") == 2
    lessor.attach(0, b"k")
    lessor.detach(b"j")
    lessor.detach(b"never")
    assert lessor.keys_of(1) == lessor.keys_of(2) == []
    lessor.self_check()


def test_leases_and_keys_come_back_after_a_restart(lessor, backend):
    lessor.grant(1, 5, 0.0)
    lessor.grant(2, 50, 0.0)
    lessor.forget(2)
    again = restarted(backend)
    again.load_keys([(b"a", 1), (b"b", 1), (b"lost", 2)])
    assert len(again) == 1
    assert again.granted(1) == 5
    assert again.keys_of(1) == [b"a", b"b"]
    assert again.lease_of(b"lost") == 0
    again.self_check()


def test_the_record_is_etcds(lessor, backend):
    lessor.grant(0x123456789ABCDEF0, 300, 0.0)
    stored = dict(backend.scan(Bucket.LEASE))
    # leasepb.Lease {ID = 1, TTL = 2}
    assert stored == {bytes.fromhex("123456789abcdef0"): bytes.fromhex("08f0bdf3d589cf959a1210ac02")}


@pytest.mark.parametrize("seed", range(10))
def test_random_lives(seed, backend):
    """Against a table of expiries: nothing is due early, everything is due by the next look after its time."""
    rng = random.Random(seed)
    lessor = Lessor(backend)
    lessor.promote(0.0, 0.0)
    now, shift = 0.0, 0.0
    expiry: dict[int, float] = {}
    doomed: set[int] = set()  # handed out once: a pause does not save them
    for _ in range(600):
        now += rng.random()
        lease = rng.randint(1, 12)
        match rng.choice(["grant", "renew", "renew", "due", "due", "forget", "pause"]):
            case "grant" if lease not in expiry:
                expiry[lease] = now + lessor.grant(lease, rng.randint(1, 9), now)
            case "renew":
                alive = lease in expiry and expiry[lease] > now and lease not in doomed
                assert bool(lessor.renew(lease, now)) == alive
                if alive:
                    expiry[lease] = now + lessor.granted(lease)
            case "due":
                for found in lessor.due(now):
                    assert expiry[found] <= now + 1e-6 or found in doomed
                    doomed.add(found)
                    if rng.random() < 0.7:
                        lessor.forget(found)
                        del expiry[found]
                        doomed.remove(found)
                for late, instant in expiry.items():
                    assert instant > now or lessor.is_expired(late, now)
            case "forget" if lease in expiry:
                lessor.forget(lease)
                del expiry[lease]
                doomed.discard(lease)
            case "pause" if rng.random() < 0.2:
                now, shift = now + 30.0, shift + 30.0
                lessor.lengthen_all(30.0)
                expiry = {one: instant + 30.0 for one, instant in expiry.items()}
            case _:
                pass
        lessor.self_check()
    later = now + 20.0
    seen: set[int] = set()
    for step in range(5):
        seen.update(lessor.due(later + 4 * step))
    assert seen == set(expiry)
