"""Who may deliver now: one bound over all, one for each next hop, the waiting served in turn.

Pure bookkeeping.  A next hop that is slow or dead holds no more than its own share of the
slots; what waits for it holds none, and next hops with something to do take turns.
"""

from collections import deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class _Hop(Generic[Job]):
    """One next hop: how many slots it holds and what waits for it."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.under_way = 0
        self.waiting: deque[Job] = deque()


class Slots(Generic[Job]):
    """Slots for jobs, each job for one next hop.

    :ivar under_way: how many slots are taken.
    """

    def __init__(self, total: int, per_hop: int) -> None:
        """Make them, all free.

        :param total: how many there are.
        :param per_hop: how many of them one next hop may hold.
        """
        self.under_way = 0
        self._total = total
        self._per_hop = per_hop
        self._hops: dict[str, _Hop[Job]] = {}
        # Next hops with something waiting and a free slot of their own; a dict for its order.
        self._ready: dict[str, _Hop[Job]] = {}

    def enter(self, name: str, job: Job) -> bool:
        """Take a slot for *job*, whose next hop is *name*, and return True; or let it wait."""
        hop = self._hops.get(name)
        if hop is None:
            hop = self._hops[name] = _Hop()
        if hop.under_way < self._per_hop:
            if self.under_way < self._total and not hop.waiting:
                self.under_way += 1
                hop.under_way += 1
                return True
            self._ready[name] = hop
        hop.waiting.append(job)
        return False

    def leave(self, name: str) -> None:
        """Give back a slot that the next hop *name* held."""
        hop = self._hops[name]
        self.under_way -= 1
        hop.under_way -= 1
        if hop.waiting:
            self._ready[name] = hop
        elif not hop.under_way:
            del self._hops[name]

    def next(self) -> tuple[str, Job] | None:
        """Take a slot for the job whose turn it is: its next hop and the job, None if none may."""
        if not self._ready or self.under_way >= self._total:
            return None
        name, hop = next(iter(self._ready.items()))
        del self._ready[name]
        job = hop.waiting.popleft()
        self.under_way += 1
        hop.under_way += 1
        if hop.waiting and hop.under_way < self._per_hop:
            self._ready[name] = hop
        return name, job

    def clear(self) -> list[tuple[str, Job]]:
        """Take out all that wait, each with its next hop; what is under way stays."""
        waiting = [(name, job) for name, hop in self._hops.items() for job in hop.waiting]
        self._ready.clear()
        self._hops = {name: hop for name, hop in self._hops.items() if hop.under_way}
        for hop in self._hops.values():
            hop.waiting.clear()
        return waiting
