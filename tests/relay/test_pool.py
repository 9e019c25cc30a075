"""The pool of connections to one next hop: bounded, in order, reused."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.relay.pool import PAUSE_S, ConnectionPool
from submitd.smtp.client_events import Finished
from submitd.transport.next_hop import Unreachable

BOB = Mailbox("bob", "example.net")
ENVELOPE = Envelope(None, (Recipient(BOB),))
RELAYED = DeliveryStatus(Action.RELAYED, "2.0.0", "250 ok", "hop")
DELAYED = DeliveryStatus(Action.DELAYED, "4.4.2", "gone", "hop")


class FakeConnection:
    """Stands for a connection that is ready; the test says what becomes of it."""

    def __init__(self, on_lost: Callable[[Any], None]) -> None:
        self.deliveries = 0
        self.is_idle = True
        self.idle_s: float | None = None
        self.contents: list[Any] = []
        self._on_lost = on_lost
        self._result: Deferred[Finished] | None = None

    def deliver(self, _envelope: Any, _recipients: Any, content: Any) -> Any:
        assert self.is_idle
        self.is_idle = False
        self.deliveries += 1
        self.contents.append(content)
        self._result = Deferred()
        return self._result

    def rest(self, idle_s: float) -> None:
        self.idle_s = idle_s

    def close(self) -> None:
        self.lose()

    def lose(self) -> None:
        """The connection is gone."""
        self.is_idle = False
        self._on_lost(self)

    def finish(
        self, status: DeliveryStatus = RELAYED, *, begun: bool = True, ended: bool = False
    ) -> None:
        """The delivery under way has come to *status*."""
        assert self._result is not None
        self.is_idle = not ended
        self._result.callback(Finished({BOB: status}, begun))
        if ended:
            self._on_lost(self)


class World:
    """A pool, and everything it asked for."""

    def __init__(self, connections: int = 2, messages_per_connection: int = 100) -> None:
        self.clock = Clock()
        self.attempts: list[tuple[Deferred[Any], Callable[[Any], None]]] = []
        self.outcomes: dict[str, DeliveryStatus] = {}
        self.pool = ConnectionPool(
            self._connect, self.clock, "hop", connections, messages_per_connection, 30
        )

    def _connect(self, on_lost: Callable[[Any], None]) -> Any:
        attempt: Deferred[Any] = Deferred(lambda d: d.errback(Unreachable(DELAYED, None)))
        self.attempts.append((attempt, on_lost))
        return attempt

    def deliver(self, *names: str) -> None:
        """Hand in messages, each known by its name."""
        for name in names:
            result: Any = self.pool.deliver(ENVELOPE, ENVELOPE.recipients, name)
            result.addCallback(lambda outcome, n=name: self.outcomes.update({n: outcome[BOB]}))

    def connected(self) -> FakeConnection:
        """The oldest attempt has come to a connection."""
        attempt, on_lost = self.attempts.pop(0)
        connection = FakeConnection(on_lost)
        attempt.callback(connection)
        return connection

    def refused(self) -> None:
        """The oldest attempt has failed."""
        self.attempts.pop(0)[0].errback(Unreachable(DELAYED, None))


def test_a_connection_is_kept_for_the_next_message() -> None:
    """One after another, messages go over one connection, which rests in between."""
    world = World()
    world.deliver("a")
    connection = world.connected()
    connection.finish()
    assert connection.idle_s == 30
    world.deliver("b")
    connection.finish()
    assert connection.contents == ["a", "b"]
    assert not world.attempts
    assert set(world.outcomes) == {"a", "b"}


def test_bound_and_order() -> None:
    """No more connections than allowed; what waits is served in order."""
    world = World(connections=2)
    world.deliver(*"abcde")
    assert len(world.attempts) == 2
    first, second = world.connected(), world.connected()
    first.finish()
    second.finish()
    first.finish()
    assert (first.contents, second.contents) == (["a", "c", "e"], ["b", "d"])
    assert not world.attempts


def test_messages_per_connection() -> None:
    """After so many messages a connection is closed, and another one made for the rest."""
    world = World(connections=1, messages_per_connection=2)
    world.deliver(*"abc")
    first = world.connected()
    first.finish()
    first.finish()
    second = world.connected()
    second.finish()
    assert (first.contents, second.contents) == (["a", "b"], ["c"])
    assert len(world.outcomes) == 3


def test_dead_connection_is_replaced_at_once() -> None:
    """A kept connection that was dead costs no delay: a new one takes the message."""
    world = World(connections=1)
    world.deliver("a")
    first = world.connected()
    first.finish()
    world.deliver("b")
    first.finish(DELAYED, begun=False, ended=True)
    assert "b" not in world.outcomes
    second = world.connected()
    second.finish()
    assert second.contents == ["b"]
    assert world.outcomes["b"] is RELAYED


def test_one_retry_only() -> None:
    """A message is not tried a third time; a new connection that dies at once delays it."""
    world = World(connections=1)
    world.deliver("a")
    first = world.connected()
    first.finish()
    world.deliver("b")
    first.finish(DELAYED, begun=False, ended=True)
    world.connected().finish(DELAYED, begun=False, ended=True)
    assert world.outcomes["b"] is DELAYED
    assert not world.attempts


@pytest.mark.parametrize(("begun", "reused"), [(True, True), (False, False)])
def test_no_retry(begun: bool, reused: bool) -> None:
    """What had begun, or failed on a new connection, is not tried again at once."""
    world = World(connections=1)
    world.deliver("a")
    connection = world.connected()
    if reused:
        connection.finish()
        world.deliver("b")
    connection.finish(DELAYED, begun=begun, ended=True)
    assert world.outcomes["b" if reused else "a"] is DELAYED
    assert not world.attempts


def test_a_retry_is_not_held_back() -> None:
    """A retry gets its new connection although further ones were refused a moment ago."""
    world = World(connections=3)
    world.deliver("a", "b")
    first, second = world.connected(), world.connected()
    first.finish()
    world.deliver("c", "d")
    world.refused()
    first.finish(DELAYED, begun=False, ended=True)
    world.connected().finish()
    second.finish()
    assert world.outcomes["c"] is RELAYED


def test_no_connection_at_all() -> None:
    """When no connection can be had and none stands, all that waits is delayed, at once."""
    world = World(connections=2)
    world.deliver(*"abc")
    world.refused()
    assert not world.outcomes
    world.refused()
    assert world.outcomes == dict.fromkeys("abc", DELAYED)
    world.deliver("d")
    assert len(world.attempts) == 1


def test_a_next_hop_that_allows_fewer_connections() -> None:
    """When further connections are refused, what waits is served by those there are."""
    world = World(connections=5)
    world.deliver("a", "b")
    connection = world.connected()
    world.refused()
    world.deliver("c")
    assert not world.attempts
    connection.finish()
    connection.finish()
    connection.finish()
    assert connection.contents == ["a", "b", "c"]
    world.clock.advance(PAUSE_S)
    world.deliver("d", "e")
    assert len(world.attempts) == 1


def test_lost_while_idle() -> None:
    """A connection that ends while nothing is under way is forgotten."""
    world = World()
    world.deliver("a")
    connection = world.connected()
    connection.finish()
    connection.lose()
    world.deliver("b")
    world.connected().finish()
    assert world.outcomes["b"] is RELAYED


def test_many_that_finish_at_once() -> None:
    """Deliveries that end without a wait, by the thousand, don't pile up calls."""
    world = World(connections=1, messages_per_connection=10_000)

    class Instant(FakeConnection):
        def deliver(self, *arguments: Any) -> Any:
            result = super().deliver(*arguments)
            self.finish()
            return result

    world.deliver(*(str(number) for number in range(2000)))
    attempt, on_lost = world.attempts.pop(0)
    attempt.callback(Instant(on_lost))
    assert len(world.outcomes) == 2000


def test_stop() -> None:
    """Stopping closes what is idle, delays what waits, and waits for what is under way."""
    world = World(connections=1)
    world.deliver("a", "b")
    connection = world.connected()
    stopped: list[Any] = []
    world.pool.stop().addCallback(stopped.append)
    assert world.outcomes["b"].action is Action.DELAYED
    assert not stopped
    connection.finish()
    assert stopped
    assert world.outcomes["a"] is RELAYED
    world.deliver("c")
    assert world.outcomes["c"].status == "4.3.2"
    assert not world.attempts


def test_stop_while_connecting() -> None:
    """An attempt under way is given up."""
    world = World()
    world.deliver("a")
    stopped: list[Any] = []
    world.pool.stop().addCallback(stopped.append)
    assert stopped
    assert world.outcomes["a"].action is Action.DELAYED


def test_stop_when_nothing_was_done() -> None:
    """A pool that was never used stops at once."""
    stopped: list[Any] = []
    World().pool.stop().addCallback(stopped.append)
    assert stopped
