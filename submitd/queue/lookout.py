"""Finding what is due in the queue: at start, as time passes, when there is room again,
and when the operator's tools have changed something."""

from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from submitd.interfaces import IQueueStore, QueuedMessage

log = Logger()

PAGE = 100
"""How many messages are read from the store at one time."""
CHANGES_S = 2.0
"""How often the store is asked whether the operator's tools changed it."""
LEAST_WAIT_S = 1.0
"""Least time from one look into the store to the next, when only time has passed."""
MOST_WAIT_S = 300.0
"""Most time between them while anything is queued: the machine's clock may have been set."""
STORE_WAIT_S = 10.0
"""How long to leave a store alone that could not be read."""


class Lookout:
    """Hands over the messages of a store when they are due, one look at a time.

    :ivar busy: whether the store has yet to answer.
    """

    def __init__(
        self,
        store: IQueueStore,
        clock: IReactorTime,
        *,
        held: Sequence[Collection[str]],
        has_room: Callable[[int], bool],
        take: Callable[[QueuedMessage], None],
        changed: Callable[[], None],
        quiet: Callable[[], None],
    ) -> None:
        """Prepare; nothing happens before `start`.

        :param held: the ids of messages that are not to be taken, as they are at any time.
        :param has_room: whether so many messages can be taken.
        :param take: takes one; it is in one of *held* from then on.
        :param changed: the store was changed from outside, and will now be read again.
        :param quiet: an answer that `stop` did not wait for has come.
        """
        self._store = store
        self._clock = clock
        self._held = held
        self._has_room = has_room
        self._take = take
        self._changed = changed
        self._quiet = quiet
        self._running = False
        self._looking = False
        self._asking = False
        self._stale = False  # the store was changed from outside during a look
        # What was let go of during a look, which may have read it before that.
        self._gone: set[str] = set()
        self._more = False  # the store may have due messages that are not held
        self._wake: IDelayedCall | None = None
        self._poll: IDelayedCall | None = None

    @property
    def busy(self) -> bool:
        """Whether the store has yet to answer."""
        return self._looking or self._asking

    def start(self) -> None:
        """Look now, and keep looking."""
        self._running = True
        self._poll = self._clock.callLater(CHANGES_S, self._ask)
        self.look()

    def stop(self) -> None:
        """Hand over nothing more."""
        self._running = False
        for timer in (self._wake, self._poll):
            if timer is not None and timer.active():
                timer.cancel()

    def look(self) -> None:
        """Look as soon as there is room: the store may have something due."""
        self._more = True
        self._look_if_room()

    def look_at(self, when_s: float) -> None:
        """Look at a time, POSIX seconds, or before it."""
        self._wake_in(max(when_s - self._clock.seconds(), LEAST_WAIT_S))

    def let_go(self, queue_id: str) -> None:
        """A message is no longer held, its outcome recorded: there is room for another."""
        if self._looking:
            self._gone.add(queue_id)
        elif self._more:
            self._look_if_room()

    def _look_if_room(self) -> None:
        if self._running and not self._looking and self._has_room(PAGE):
            self._looking = True
            self._more = self._stale = False
            Deferred.fromCoroutine(self._look()).addCallbacks(self._looked, self._not_looked)

    async def _look(self) -> None:
        messages = await self._store.due(self._clock.seconds(), PAGE, self._busy_ids())
        if self._stale:
            return
        for message in messages:
            if self._running and not self._is_busy(message.id):
                self._take(message)
        if len(messages) == PAGE:
            self._more = True
        elif self._running:
            next_s = await self._store.next_due_s(self._busy_ids())
            if next_s is not None:
                self.look_at(next_s)

    def _busy_ids(self) -> frozenset[str]:
        return frozenset().union(*self._held)

    def _is_busy(self, queue_id: str) -> bool:
        return queue_id in self._gone or any(queue_id in held for held in self._held)

    def _looked(self, _: object) -> None:
        self._ended()
        if self._more:
            self._wake_in(0)

    def _not_looked(self, failure: Failure) -> None:
        log.failure("The queue can't be read", failure)
        self._ended()
        self._wake_in(STORE_WAIT_S)

    def _ended(self) -> None:
        self._looking = False
        self._gone.clear()
        if not self._running:
            self._quiet()

    def _wake_in(self, wait_s: float) -> None:
        """Look when so much time has passed, or earlier where that was wished before."""
        if not self._running:
            return
        wait_s = min(wait_s, MOST_WAIT_S)
        if self._wake is not None and self._wake.active():
            if self._wake.getTime() <= self._clock.seconds() + wait_s:
                return
            self._wake.cancel()
        self._wake = self._clock.callLater(wait_s, self.look)

    def _ask(self) -> None:
        self._asking = True
        self._store.changed_elsewhere().addBoth(self._asked)

    def _asked(self, changed: bool | Failure) -> None:
        self._asking = False
        if not self._running:
            self._quiet()
            return
        self._poll = self._clock.callLater(CHANGES_S, self._ask)
        if isinstance(changed, Failure):
            log.failure("The queue does not say whether it was changed", changed)
        elif changed:
            self._stale = True
            self._changed()
            self.look()
