"""The registry in the simulator: who registers, who looks, and what must be true whatever happens.

1. A view is exactly what was stored at its revision, revisions grow, and what it tells adds up to it.
2. When nothing is under way any more, every view that can reach the server is the present.
3. A registration that settled is in the store, and after every fault it comes back with its newest value.
4. What was closed leaves no key, whatever of it still arrives late.
5. The keys of a process that died go with its lease.
6. Who said goodbye is kept by no brake, and whoever is kept had vanished.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT
from coord.model import Event, EventKind
from coord.port import Port
from coord.recipes.common.client import Background
from coord.recipes.registry.brake import Brake
from coord.recipes.registry.instance import LEAVING, Instance, new_instance, service_prefix
from coord.recipes.registry.registration import RegistrationBase
from coord.recipes.registry.roster import Change, ChangeKind, Follower
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.server import ELECTION_SECONDS
from coord.testing.sim.world import Faults, Program, SimClient, Violation

SERVICE = "s"
STRANGERS = (service_prefix(SERVICE) + b"!", service_prefix("s2") + b"x")
SLACK = 1.0  # seconds by which an expiry may be late, since other things happen at the same instant


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        servers: programs of each client that registers; each has an instance of its own.
        followers: clients that follow the service.
        cycles: how often each registers its instance, closing it in between.
        hold: seconds for which it says the same.
        updates: how often it says something else.
        stays: the last registration is not closed.
    """

    servers: tuple[int, ...] = (1, 1)
    followers: int = 1
    cycles: int = 1
    hold: float = 4.0
    updates: int = 1
    stays: bool = True


State = dict[bytes, bytes]


class CountingFollower(Follower):
    """A follower whose brake engages as soon as more than half have vanished, be it one. Counts how often it reads."""

    def __init__(self, port: Port, service: str) -> None:
        super().__init__(port, service, Brake(0.5, fewest=1))
        self.reads = 0

    async def read(self, deadline: float | None) -> list[Change]:
        """Read everything."""
        self.reads += 1
        return await super().read(deadline)


class SimOwner:
    """What a registration knows of its client."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.timeout = None

    def background(self, program: Any, *, name: str) -> Background:
        """Nothing here runs in the background.

        Raises:
            Violation: always.
        """
        raise Violation(f"{name} does not belong here")


class RegistryScenario(Scenario):
    """One run: programs that register and close, programs that follow them, and the checks.

    `entered` has the keys, each time a registration settled.
    """

    step_limit = 8000
    settle_seconds = 90.0

    def __init__(
        self,
        choices: Choices,
        shape: Shape,
        *,
        faults: Faults | None = None,
        budget: int = 0,
        make_follower: Callable[[Port, str], CountingFollower] = CountingFollower,
    ) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._make_follower = make_follower
        self._polite: list[tuple[int, frozenset[bytes]]] = [(0, frozenset())]  # who said goodbye last
        self.goodbyes = 0
        self.braked = 0  # how often a view kept somebody
        self._past: list[tuple[int, State]] = [(0, {})]  # what was registered, and since which revision
        self._kept: dict[bytes, tuple[SimClient, RegistrationBase]] = {}  # the newest registration of each key
        self._followers: list[tuple[SimClient, CountingFollower]] = []
        self._gone_by: dict[int, float] = {}  # when the keys of a dead client must be gone
        self._boots = 0
        server = self.world.server
        server.listeners.append(self._remember)
        for key in STRANGERS:
            server.put(key, b"?")
        self.world.idle_checks.append(self._views_are_the_present)
        for number, programs in enumerate(shape.servers):
            client = self.world.add_client()
            for program in range(programs):
                client.start(self._serve(client, f"{number}-{program}"))
        self._serving = list(self.world.programs)
        for _ in range(shape.followers):
            client = self.world.add_client()
            client.start(self._follow(client))

    # --- what programs do

    async def _serve(self, client: SimClient, name: str) -> None:
        port, shape = client.port, self.shape
        for cycle in range(shape.cycles):
            instance = new_instance(SERVICE, f"cycle {cycle}", id=name)
            registration = RegistrationBase(SimOwner(port), instance, self.world.ttl)
            self._kept[instance.key] = (client, registration)
            staying = False
            try:
                await registration._settled(None)
                self._is_there(registration)
                for update in range(shape.updates):
                    await port.sleep(until=port.now() + shape.hold)
                    await registration._update(f"cycle {cycle} update {update}", None, None, None, None)
                    self._is_there(registration)
                await port.sleep(until=port.now() + shape.hold)
                staying = shape.stays and cycle == shape.cycles - 1
            finally:
                if not staying:
                    await registration._withdraw()

    async def _follow(self, client: SimClient) -> None:
        follower = self._make_follower(client.port, SERVICE)
        self._followers.append((client, follower))
        told: dict[bytes, Instance] = {}
        revision = 0
        try:
            while True:
                changes = await follower.next(None)
                self._adds_up(told, changes)
                if follower.seen.revision < revision:
                    raise Violation(f"a view went back from revision {revision}")
                revision = follower.seen.revision
                self._is_exact(follower, told)
        finally:
            follower.close()

    # --- what must be true

    def _remember(self, revision: int, events: list[Event]) -> None:
        prefix = service_prefix(SERVICE)
        state, polite = dict(self._past[-1][1]), self._polite[-1][1]
        for event in events:
            key = event.item.key
            if not key.startswith(prefix) or key in STRANGERS:
                continue
            state.pop(key, None)
            if event.kind is EventKind.PUT and not _says_goodbye(event.item.value):
                state[key] = event.item.value
                polite -= {key}
            elif event.kind is EventKind.PUT:
                polite |= {key}
                self.goodbyes += 1
        self._past.append((revision, state))
        self._polite.append((revision, polite))

    def _stored(self, revision: int) -> State:
        return self._past[bisect_right(self._past, revision, key=lambda entry: entry[0]) - 1][1]

    def _polite_at(self, revision: int) -> frozenset[bytes]:
        return self._polite[bisect_right(self._polite, revision, key=lambda entry: entry[0]) - 1][1]

    @property
    def _now_stored(self) -> State:
        return self._past[-1][1]

    def _adds_up(self, told: dict[bytes, Instance], changes: list[Change]) -> None:
        for change in changes:
            key = change.instance.key
            if (change.kind is ChangeKind.JOINED) != (key not in told):
                raise Violation(f"{change} was told of what was {told.get(key)}")
            if change.kind is ChangeKind.LEFT:
                del told[key]
            else:
                told[key] = change.instance

    def _is_exact(self, follower: CountingFollower, told: dict[bytes, Instance]) -> None:
        known, revision = follower.seen.known, follower.seen.revision
        if _values(known) != self._stored(revision):
            raise Violation(f"a view at revision {revision} is {known}, stored was {self._stored(revision)}")
        if _values(told) != _values(known):
            raise Violation(f"what was told adds up to {told}, the view is {known}")
        self._keeps_only_who_vanished(follower)

    def _keeps_only_who_vanished(self, follower: CountingFollower) -> None:
        kept = follower.seen.kept(self.world.clock.now())
        self.braked += bool(kept)
        # Nobody can tell from a list why somebody is not in it.
        gone = self._polite_at(follower.seen.revision) if follower.reads == 1 else frozenset()
        wrong = [key for key in kept if key in follower.seen.known or key in gone]
        if wrong:
            raise Violation(f"a view keeps {wrong}, which did not vanish")

    def _views_are_the_present(self) -> None:
        """Nothing is under way: whoever waits for a change has missed none."""
        for client, follower in self._followers:
            if client.stopped or client.closing or self.world.clock.now() < client.cut_until:
                continue
            if follower._watch is not None and _values(follower.seen.known) != self._now_stored:
                raise Violation(f"a view waits at {follower.seen}, stored is {self._now_stored}")

    def _is_there(self, registration: RegistrationBase) -> None:
        declaration: Any = registration._declared
        declaration = declaration._declaration
        key, lease = declaration.key, declaration.lease
        if lease is None:
            return  # lost again since
        self.entered.append(key)
        if lease in self.world.revoked or declaration.disputed:
            return  # cannot be known yet, or is put once more when nothing can come late any more
        if key not in self._now_stored:
            raise Violation(f"{key!r} is settled and not stored")

    def _the_dead_leave(self) -> None:
        world, now = self.world, self.world.clock.now()
        again = world.server.boots != self._boots
        self._boots = world.server.boots
        for client in world.clients:
            if not client.crashed:
                continue
            if client.index not in self._gone_by:
                mine = [
                    each.give_up + SERVER_REQUEST_TIMEOUT for each in world.net.messages if each.client == client.index
                ]
                self._gone_by[client.index] = max([now, *mine]) + world.ttl + SLACK
            if again:
                longest = now + world.ttl + ELECTION_SECONDS + SLACK
                self._gone_by[client.index] = max(self._gone_by[client.index], longest)
            due = world.server.next_expiry
            if now > self._gone_by[client.index] and (due is None or due > now):
                self._has_no_keys(client)

    def _has_no_keys(self, client: SimClient) -> None:
        for key, (owner, _) in self._kept.items():
            if owner is client and key in self._now_stored:
                raise Violation(f"{key!r} is still there long after client {client.index} died")

    # --- running

    def waits_for_ever(self, program: Program) -> bool:
        """Followers do."""
        return program not in self._serving

    def check(self) -> None:
        """Keys of the dead go in time."""
        self._the_dead_leave()

    def finish(self) -> None:
        """What is registered is stored, and seen by everybody.

        Raises:
            Violation: it is not.
        """
        if self._now_stored != self._expected():
            raise Violation(f"stored is {self._now_stored}, registered {self._expected()}")
        self._views_are_the_present()

    def _expected(self) -> State:
        return {
            key: registration.instance.encode()
            for key, (client, registration) in self._kept.items()
            if not registration._closed and not client.crashed and not client.closing
        }

    @property
    def left_behind(self) -> list[bytes]:
        """Keys of what is not registered any more; there must be none once a run has settled."""
        return sorted(self._now_stored.keys() - self._expected().keys())

    def settled(self) -> bool:
        """Nothing can change any more, renewals apart."""
        world, now = self.world, self.world.clock.now()
        if any(message.late or message.write for message in world.net.messages):
            return False
        leases = set(world.server.machine.lessor.ids())
        alive = [client for client in world.clients if not client.crashed and not client.closing]
        if any(client.stopped or now < client.cut_until or not _rests(client, leases) for client in alive):
            return False
        dead = {client.index + 1 for client in world.clients if client not in alive}
        if any(lease >> 32 in dead for lease in leases):
            return False
        views = [follower for client, follower in self._followers if client in alive and not _over(client)]
        return all(_values(view.seen.known) == self._now_stored for view in views)

    def left(self) -> str:
        """What is stored, registered and seen."""
        views = [follower.seen for _, follower in self._followers]
        return f"stored {self._now_stored}, registered {self._expected()}, views {views}, {self.world.net.messages}"


def _over(client: SimClient) -> bool:
    return all(program.over for program in client.programs)


def _rests(client: SimClient, leases: set[int]) -> bool:
    """Its keeper has nothing to do but to renew leases that exist."""
    declarations = client.keeper.declarations
    return all(each.lease in leases and not each.disputed for each in declarations)


def _says_goodbye(value: bytes) -> bool:
    return bool(json.loads(value).get("state") == LEAVING)


def _values(known: Any) -> State:
    return {key: instance.encode() for key, instance in known.items()}


def build(seed: int, **changes: Any) -> RegistryScenario:
    """The registry under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        servers=chance.choice(((1, 1), (2, 1), (1,), (1, 1, 1))),
        followers=chance.choice((1, 1, 2)),
        cycles=chance.choice((1, 1, 2, 3)),
        hold=chance.choice((0.0, 0.0, 2.0, 12.0)),
        updates=chance.choice((0, 1, 2)),
        stays=chance.choice((True, True, False)),
    )
    faults = Faults(revoke=chance.choice((0, 2)))
    return RegistryScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(7), **changes)
