"""Messages left in the store because too much waits for their next hop already.

Where a next hop is dead or slow, thousands of messages may be due for it.  In hand they would
fill the room for all others.  So a next hop's share is as much as is still free: however many
next hops are dead, something is left.  Of what goes beyond that only the id is kept.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

MOST = 10_000
"""How many ids are kept, some 100 octets each; with more, what is due is not looked for."""
PORTION = 100
"""How many messages of a next hop are let go at one time, to be read again."""


class Parking:
    """The ids of such messages, by next hop.  A collection of all ids.

    :ivar is_full: whether no more can be taken.
    """

    def __init__(self, weight_waiting: Callable[[str], int]) -> None:
        """Make an empty one.

        :param weight_waiting: how much is in hand for a next hop and waits.
        """
        self._weight_waiting = weight_waiting
        self._ids: set[str] = set()
        # For each next hop in the order they came: a dict for its order.
        self._hops: dict[str, dict[str, None]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken."""
        return len(self._ids) >= MOST

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, queue_id: object) -> bool:
        return queue_id in self._ids

    def takes(self, queue_id: str, hops: Iterable[str], room_left: int) -> bool:
        """Keep the id of a message if it has to wait here.

        :param hops: the next hops of its recipients; it waits if all have their share.
        :param room_left: how much more could be in hand, by weight.
        """
        if not all(self._weight_waiting(hop) > room_left for hop in hops):
            return False
        self._ids.add(queue_id)
        self._hops.setdefault(next(iter(hops)), {})[queue_id] = None
        return True

    def releases(self, hop: str, room_left: int) -> bool:
        """Forget some ids if little is left that waits for *hop*; tells whether there were any.

        They are due in the store, and are to be read from there.
        """
        parked = self._hops.get(hop)
        if parked is None or 2 * self._weight_waiting(hop) > room_left:
            return False
        for queue_id in list(islice(parked, PORTION)):
            del parked[queue_id]
            self._ids.discard(queue_id)
        if not parked:
            del self._hops[hop]
        return True

    def clear(self) -> None:
        """Forget all."""
        self._ids.clear()
        self._hops.clear()
