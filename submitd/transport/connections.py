"""All connections together: how many there may be, when each must end, how all end."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from submitd.smtp import replies
from submitd.smtp.replies import Reply
from submitd.transport.addresses import Networks, Place, client_and_network
from submitd.transport.options import LimitsOptions

SWEEP_S = 1.0
LOGIN_IN_PEACE_S = 10.0
"""How long a client without a login is safe from being cut off to make room for others."""
MINUTE_S = 60.0
NOTICE_S = 10.0  # between two log lines that tell of the same limit
NEVER_S = float("inf")


class Connection(Protocol):
    """What is asked of a connection.

    :ivar deadline_s: when it is to be ended, by the clock of `Connections`.
    :ivar is_held: the client waits, by way of punishment, until `let_go`.
    """

    deadline_s: float
    is_held: bool

    def time_out(self) -> None:
        """The deadline has passed."""

    def let_go(self) -> None:
        """Whoever was held may go on."""

    def finish(self) -> None:
        """End once the message under way is done."""

    def abort(self, reason: str) -> None:
        """Cut it off."""


class Connections:
    """All open connections of all listeners: their number, their deadlines, their end.

    When all places are taken, a newcomer gets that of the client that has been longest
    without a login, if it had time for one: those who only hold connections open can't
    keep users out.

    One call a second looks at every deadline: cheaper than a timer for each
    connection, which each octet received would have to move.

    :param reactor: the clock (`IReactorTime`).
    :param limits: `[limits]`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, limits: LimitsOptions) -> None:
        self._limits = limits
        self._exempt = Networks(limits.exempt_networks)
        self._open: dict[Connection, tuple[Place, Place]] = {}
        self._strangers: dict[Connection, float] = {}  # since when, in that order
        self._by_client: Counter[Place] = Counter()
        self._by_network: Counter[Place] = Counter()
        self._new: Counter[Place] = Counter()  # in this minute
        self._new_until_s = -NEVER_S
        self._notices: dict[str, _Notice] = {}
        self._drained: Deferred[None] | None = None
        self._sweep = LoopingCall(self._look_at_deadlines)
        self._sweep.clock = reactor
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def start(self) -> None:
        """Begin to watch the deadlines."""
        self._sweep.start(SWEEP_S, now=False)

    def admit(self, connection: Connection, address: str) -> Reply | None:
        """Count a new connection; the reply that refuses it, when it is one too many."""
        client, network = place = client_and_network(address)
        limits = self._limits
        self._open[connection] = place
        self._by_client[client] += 1
        self._by_network[network] += 1
        if self._drained is not None:
            return replies.SHUTTING_DOWN
        for limit, count, refusal in (
            ("connections_per_minute", self._count_new(client), replies.TOO_MANY_NEW_CONNECTIONS),
            ("connections_per_address", self._by_client[client], replies.TOO_MANY_FROM_ADDRESS),
            ("connections_per_network", self._by_network[network], replies.TOO_MANY_FROM_NETWORK),
        ):
            if count > getattr(limits, limit) and address not in self._exempt:
                self._notice(limit, address)
                return refusal
        if len(self._open) > limits.connections:
            self._notice("connections", address)
            if not self._make_room():
                return replies.TOO_MANY_CONNECTIONS
        self._strangers[connection] = self.seconds()
        return None

    def _count_new(self, client: Place) -> int:
        """How many connections *client* has begun in this minute; 0 where that has no limit."""
        if not self._limits.connections_per_minute:
            return 0
        now_s = self.seconds()
        if now_s >= self._new_until_s:
            self._new.clear()
            self._new_until_s = now_s + MINUTE_S
        self._new[client] += 1
        return self._new[client]

    def _make_room(self) -> bool:
        for stranger, since_s in self._strangers.items():
            if self.seconds() - since_s < LOGIN_IN_PEACE_S:
                break
            del self._strangers[stranger]
            stranger.abort("made room for others")
            return True
        return False

    def _notice(self, limit: str, address: str) -> None:
        """Log that a limit was met, now and then."""
        notice = self._notices.setdefault(limit, _Notice())
        notice.times += 1
        now_s = self.seconds()
        if now_s < notice.again_s:
            return
        self._log.warn(
            "{limit} = {most} is reached, {times} times since this was said last; by {client}",
            line="limit",
            limit=limit,
            most=getattr(self._limits, limit),
            times=notice.times,
            client=address,
        )
        notice.times = 0
        notice.again_s = now_s + NOTICE_S

    def logged_in(self, connection: Connection) -> None:
        """A connection belongs to a user now."""
        self._strangers.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._strangers.pop(connection, None)
        for counts, place in zip(
            (self._by_client, self._by_network), self._open.pop(connection), strict=True
        ):
            counts[place] -= 1
            if not counts[place]:
                del counts[place]
        if self._drained is not None and not self._open:
            self._end()

    def drain(self) -> Deferred[None]:
        """Admit no more; idle sessions get 421 at once, others when their message is done.

        What is left when `stop_s` is over is cut off.
        """
        if self._drained is None:
            self._drained = Deferred()
            self._stop_at = self.seconds() + self._limits.stop_s
            for connection in tuple(self._open):
                connection.finish()
            if not self._open:
                self._end()
        return self._drained

    def _end(self) -> None:
        if self._sweep.running:
            self._sweep.stop()
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def _look_at_deadlines(self) -> None:
        now_s = self.seconds()
        cut_off = self._drained is not None and now_s >= self._stop_at
        for connection in tuple(self._open):
            if cut_off:
                connection.abort("server stopped")
            elif connection.deadline_s < now_s:
                connection.time_out()
            elif connection.is_held:
                connection.let_go()


@attrs.define(slots=True)
class _Notice:
    """How often a limit was met since that was logged, and when it may be logged again."""

    times: int = 0
    again_s: float = -NEVER_S
