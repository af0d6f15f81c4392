"""A world of simulated clients around one real server state machine, on a virtual clock.

Whenever several things could happen next, `Choices` decides: which message arrives, which is lost, who is stopped,
cancelled or crashes, when the clock jumps. What runs is the product: recipes' programs, the clients' port code and
keeper, the server's store and lessor. A run is repeated exactly by its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from coord.client.keeper.duties import Commit, Duty, Grant, Renew, Revoke
from coord.client.keeper.keeping import Keeper
from coord.errors import CoordError
from coord.testing.sim.choices import Choices, Event
from coord.testing.sim.clock import ManualClock
from coord.testing.sim.net import Message, Network, Stage
from coord.testing.sim.port import SimPort, Waiter
from coord.testing.sim.server import SimServer
from coord.testing.sim.watch import SimWatcher

_FOREVER: Final = float("inf")

# Kinds of events; the numbers go into the hash of a schedule.
_RESUME, _KEEP, _MESSAGE, _LATE, _REGISTER, _WATCH, _EXPIRE, _ADVANCE = range(1, 9)
_BREAK, _DELAY, _CANCEL, _CRASH, _PAUSE, _CUT, _RESTART, _COMPACT, _REVOKE, _OVERDUE, _CLOSE = range(9, 20)


class Violation(AssertionError):
    """A run broke a promise."""


class SimCancelled(BaseException):
    """What a cancelled program is thrown, as asyncio does."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each fault is, against ordinary events of weight 20; 0 for never.

    Attributes:
        break_off: a connection breaks under a request or its answer.
        delay: time passes although messages are under way.
        cancel: a program is cancelled where it waits.
        crash: a client's process is gone.
        close: a client is closed while its programs run.
        pause: a client's process is stopped for longer than it is allowed to be.
        cut: nothing passes between a client and the server for a while.
        restart: the server restarts, with its data.
        compact: the server forgets the past.
        revoke: somebody revokes a lease that is in use.
    """

    break_off: int = 2
    delay: int = 1
    cancel: int = 1
    crash: int = 1
    close: int = 1
    pause: int = 1
    cut: int = 1
    restart: int = 1
    compact: int = 1
    revoke: int = 0


class Program:
    """One running program of a client."""

    __slots__ = ("client", "coro", "error", "index", "interrupt", "over", "ready", "result", "waiter")

    def __init__(self, client: SimClient, index: int, coro: Coroutine[Any, Any, Any]) -> None:
        self.client = client
        self.index = index
        self.coro = coro
        self.waiter: Waiter | None = None
        self.ready = True
        self.interrupt: BaseException | None = None
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        """What it waits for may have come."""
        self.ready = True

    def resume(self) -> None:
        """Run it until it waits again."""
        self.ready = False
        interrupt, self.interrupt = self.interrupt, None
        try:
            if interrupt is None:
                self.waiter = self.coro.send(None)
            else:
                self.waiter = self.coro.throw(interrupt)
        except StopIteration as end:
            self.over, self.result = True, end.value
        except (SimCancelled, Exception) as error:  # noqa: BLE001  # the scenario judges it
            self.over, self.error = True, error
        finally:
            # Its traceback knows this frame, and would keep all that the program had from being collected.
            del interrupt


class SimClient:
    """One client process: a keeper, a port, programs."""

    def __init__(self, world: SimWorld, index: int) -> None:
        self._world = world
        self.index = index
        self.programs: list[Program] = []
        self.crashed = False
        self.closing = False
        self.stopped_until = -_FOREVER  # the process stands still until then
        self.cut_until = -_FOREVER  # no message passes until then
        self.woken = False
        self.wake_at = _FOREVER
        self._leases = (index + 1) << 32
        self.keeper = Keeper(wake=self._wake, clock=world.clock.now, lease_ids=self._next_lease)
        self.port = SimPort(world, self)

    @property
    def machine(self) -> Keeper:
        """The keeper, under the name that ports know it by."""
        return self.keeper

    def _wake(self) -> None:
        self.woken = True

    def _next_lease(self) -> int:
        self._leases += 1
        return self._leases

    def start(self, coro: Coroutine[Any, Any, Any]) -> Program:
        """Run a program on this client."""
        program = Program(self, len(self.programs), coro)
        self.programs.append(program)
        self._world.programs.append(program)
        return program

    def send(
        self, request: Callable[[], Any], give_up: float, write: bool, done: Callable[[Any, CoordError | None], None]
    ) -> Message:
        """Put a request on its way."""
        return self._world.net.send(self.index, request, give_up, write, done)

    @property
    def stopped(self) -> bool:
        """True while it can do nothing."""
        return self.crashed or self._world.clock.now() < self.stopped_until

    def run_keeper(self) -> None:
        """One turn of its keeper's thread, which ends when its client is closed."""
        self.woken = False
        if self.keeper.closed:
            self.wake_at = _FOREVER
            return
        for duty in self.keeper.poll(self._world.clock.now()):
            self.send(self._request(duty), duty.deadline, True, partial(self._duty_done, duty))
        self.wake_at = self.keeper.next_wake() or _FOREVER

    def _request(self, duty: Duty) -> Callable[[], Any]:
        server = self._world.server
        match duty:
            case Grant():
                return partial(server.grant, duty.lease, duty.ttl)
            case Renew():
                return partial(server.renew, duty.lease)
            case Revoke():
                return partial(server.revoke, duty.lease)
            case Commit():
                return partial(server.txn, duty.request)
        raise AssertionError(f"unknown duty {duty!r}")

    def _duty_done(self, duty: Duty, result: Any, error: CoordError | None) -> None:
        self.keeper.on_done(duty, result, error, self._world.clock.now())
        self.woken = True

    def close(self, seconds: float = 1.0) -> None:
        """Begin to close it as a program would; it is closed when its keeper is."""
        self.closing = True
        self.port.ring()
        self.keeper.close(self._world.clock.now() + seconds)
        self.woken = True
        for program in self.programs:
            program.wake()

    def crash(self) -> None:
        """The process is gone; what it sent may still arrive."""
        self.crashed = True
        for message in [each for each in self._world.net.messages if each.client == self.index]:
            self._world.net.abandon(message)
        for program in self.programs:
            if not program.over:
                program.over = True
                self._world.bury(program)
        self.port.hub.watchers.clear()


class SimWorld:
    """Everything, and the loop that lets one thing happen after the other."""

    def __init__(self, choices: Choices, *, faults: Faults | None = None, budget: int = 0, ttl: float = 10.0) -> None:
        self.choices = choices
        self.clock = ManualClock()
        self.net = Network(self.clock.now, choices.number)
        self.server = SimServer(self.clock.now)
        self.clients: list[SimClient] = []
        self.programs: list[Program] = []
        self.running: Program | None = None
        self.steps = 0
        self.at_rest = False  # nothing can ever happen again
        self.faults = faults or Faults()
        self.budget = budget  # faults that may still happen
        self.ttl = ttl
        self.revoked: set[int] = set()  # leases ended by somebody else, whose owners cannot have known
        self.waits_for_ever: Callable[[Program], bool] = lambda _: False  # who never ends by itself
        self.interfere: Callable[[int], None] | None = None  # called before each step with its number
        self.idle_checks: list[Callable[[], None]] = []  # called when nothing can happen before time passes
        self.woken_checks: list[Callable[[SimClient, SimWatcher], None]] = []  # called while a commit wakes a watcher

    def add_client(self) -> SimClient:
        """One more client process."""
        client = SimClient(self, len(self.clients))
        self.clients.append(client)
        return client

    def waker(self) -> Callable[[], None]:
        """What wakes the program that runs now.

        Raises:
            Violation: none does: a port was used outside of a program.
        """
        if self.running is None:
            raise Violation("a port was used outside of a program")
        return self.running.wake

    def bury(self, program: Program) -> None:
        """End a program of a process that is gone: its cleanup can reach nobody."""
        previous, self.running = self.running, program
        try:
            program.coro.close()
        finally:
            self.running = previous

    # --- the loop

    def step(self) -> None:
        """Let one thing happen.

        Raises:
            Violation: nothing can ever happen again.
        """
        self.steps += 1
        if self.interfere is not None:
            self.interfere(self.steps)
        events = self._local() or self._anything()
        if not events:
            if any(not program.over and not self.waits_for_ever(program) for program in self.programs):
                raise Violation("nothing can happen any more, and somebody still waits")
            self.at_rest = True
            return
        event = self.choices.pick(events)
        if event.fault:
            self.budget -= 1
        event.do()

    def _local(self) -> list[Event]:
        """What happens inside of client processes, which takes no time."""
        events: list[Event] = []
        now = self.clock.now()
        for client in self.clients:
            if client.stopped:
                continue
            if client.woken or client.wake_at <= now:
                events.append(Event(1, _KEEP << 16 | client.index, client.run_keeper))
            for program in client.programs:
                if program.ready and not program.over:
                    code = _RESUME << 16 | client.index << 8 | program.index
                    events.append(Event(1, code, partial(self._resume, program)))
        return events

    def _resume(self, program: Program) -> None:
        self.running = program
        try:
            program.resume()
        finally:
            self.running = None

    def _anything(self) -> list[Event]:
        events: list[Event] = []
        now = self.clock.now()
        faults, fragile = self.faults, self.budget > 0
        for message in self.net.messages:
            code = message.client << 8 | (message.ordinal & 0xFF)
            if message.late:
                if message.not_before <= now:
                    events.append(Event(20, _LATE << 16 | code, partial(self.net.deliver, message)))
                continue
            client = self.clients[message.client]
            if now < client.cut_until or (message.stage is Stage.ANSWER and client.stopped):
                continue
            events.append(Event(20, _MESSAGE << 16 | code, partial(self.net.deliver, message)))
            if message.give_up <= now and not client.stopped:
                # Its process stood still when the deadline passed; now the answer and the timer race.
                events.append(Event(20, _OVERDUE << 16 | code, partial(self.net.time_out, message)))
            if fragile and faults.break_off:
                events.append(Event(faults.break_off, _BREAK << 16 | code, partial(self.net.break_off, message), True))
        for client in self.clients:
            if client.stopped or now < client.cut_until:
                continue
            self._watch_events(client, events)
        expiry = self.server.next_expiry
        if expiry is not None and expiry <= now:
            events.append(Event(20, _EXPIRE << 16, self._expire))
        if not events:
            for check in self.idle_checks:
                check()
        if fragile:
            self._fault_events(events)
        self._advance_event(events)
        return events

    def _expire(self) -> None:
        self.server.expire()

    def _watch_events(self, client: SimClient, events: list[Event]) -> None:
        hub = client.port.hub
        for watcher in hub.watchers.values():
            code = client.index << 8 | (watcher.token & 0xFF)
            if not watcher.registered:
                events.append(Event(20, _REGISTER << 16 | code, partial(hub.register, watcher)))
            elif watcher.under_way:
                events.append(Event(20, _WATCH << 16 | code, partial(hub.deliver, watcher)))

    def _advance_event(self, events: list[Event]) -> None:
        instant = self._next_instant()
        if instant == _FOREVER:
            return
        if not events or all(event.fault for event in events):
            events.append(Event(20, _ADVANCE << 16, partial(self._move_to, instant)))
        elif self.budget > 0 and self.faults.delay:
            events.append(Event(self.faults.delay, _DELAY << 16, partial(self._delay, instant), True))

    def _next_instant(self) -> float:
        now = self.clock.now()
        soonest = self.server.next_expiry or _FOREVER
        soonest = soonest if soonest > now else _FOREVER
        for message in self.net.messages:
            instant = message.not_before if message.late else message.give_up
            if instant > now:
                soonest = min(soonest, instant)
        for client in self.clients:
            if client.crashed:
                continue
            for instant in (client.stopped_until, client.cut_until):
                if instant > now:
                    soonest = min(soonest, instant)
            if now < client.stopped_until:
                continue
            soonest = min(soonest, client.wake_at)
            for program in client.programs:
                waiter = program.waiter
                if not program.over and waiter is not None and waiter.until is not None:
                    soonest = min(soonest, waiter.until)
        return soonest

    def _delay(self, instant: float) -> None:
        """Time passes while messages are under way, up to what the clock would have moved to without them."""
        now = self.clock.now()
        self._move_to(now + (instant - now) * (1.0, 0.9, 0.6, 0.3)[self.choices.number(4)])

    def _move_to(self, instant: float) -> None:
        self.clock.move_to(max(instant, self.clock.now()))
        now = self.clock.now()
        for message in [each for each in self.net.messages if not each.late and each.give_up <= now]:
            if self.clients[message.client].stopped_until < now:
                self.net.time_out(message)
        for program in self.programs:
            waiter = program.waiter
            if waiter is not None and waiter.until is not None and waiter.until <= now:
                program.ready = True

    # --- faults

    def _fault_events(self, events: list[Event]) -> None:
        faults = self.faults
        for client in self.clients:
            if client.stopped or all(program.over for program in client.programs):
                continue
            here = client.index
            if faults.crash:
                events.append(Event(faults.crash, _CRASH << 16 | here, client.crash, True))
            if faults.close and not client.closing:
                events.append(Event(faults.close, _CLOSE << 16 | here, client.close, True))
            if faults.pause:
                events.append(Event(faults.pause, _PAUSE << 16 | here, partial(self.pause, client), True))
            if faults.cut and self.clock.now() >= client.cut_until:
                events.append(Event(faults.cut, _CUT << 16 | here, partial(self.cut, client), True))
            if faults.cancel:
                for program in client.programs:
                    if not program.over:
                        code = _CANCEL << 16 | here << 8 | program.index
                        events.append(Event(faults.cancel, code, partial(self.cancel, program), True))
            if faults.revoke and client.keeper.live(self.ttl) is not None:
                events.append(Event(faults.revoke, _REVOKE << 16 | here, partial(self.revoke, client), True))
        if faults.restart:
            events.append(Event(faults.restart, _RESTART << 16, self.restart, True))
        if faults.compact:
            events.append(Event(faults.compact, _COMPACT << 16, self.server.compact, True))

    def cancel(self, program: Program) -> None:
        """Throw a cancellation where the program waits."""
        program.interrupt = SimCancelled()
        program.ready = True

    def pause(self, client: SimClient) -> None:
        """Stop a process for a while, often for longer than its leases live."""
        client.stopped_until = self.clock.now() + self.ttl * (0.4, 0.8, 1.1, 2.5)[self.choices.number(4)]

    def cut(self, client: SimClient) -> None:
        """Let nothing pass between a client and the server for a while."""
        client.cut_until = self.clock.now() + self.ttl * (0.3, 0.7, 1.1, 2.5)[self.choices.number(4)]

    def revoke(self, client: SimClient) -> None:
        """Somebody else ends the lease of a client."""
        session = client.keeper.live(self.ttl)
        if session is not None and session.lease in self.server.machine.lessor:
            self.revoked.add(session.lease)
            self.server.revoke(session.lease)

    def restart(self) -> None:
        """The server's process ends and starts again; every connection breaks."""
        self.server.restart()
        for message in list(self.net.messages):
            if not message.late:
                self.net.break_off(message)
        for client in self.clients:
            client.port.hub.disconnect()

    def close(self) -> None:
        """End what still runs, after a run that failed."""
        for client in self.clients:
            client.crash()

    def woken(self, client: SimClient, watcher: SimWatcher) -> None:
        """A commit is of interest to this watcher."""
        for check in self.woken_checks:
            check(client, watcher)
