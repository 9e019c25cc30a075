"""Who may deliver now: one bound over all, one for each next hop, the waiting served in turn.

Pure bookkeeping.  A next hop that is slow or dead holds no more than its own share of the
slots; what waits for it holds none, and next hops with something to do take turns, those with
something urgent first.
"""

from heapq import heappop, heappush
from typing import Generic, TypeVar

Job = TypeVar("Job")

FAIR_TURN = 4
"""Each so many-th free slot goes to the next hop that has waited longest, urgent or not."""


class _Hop(Generic[Job]):
    """One next hop: how many slots it holds and what waits for it, a heap.

    `level` is the priority it is ready at, that of the first job of the heap; `weight` is
    that of all of them.
    """

    __slots__ = ("level", "under_way", "waiting", "weight")

    def __init__(self) -> None:
        self.under_way = 0
        self.level = 0
        self.weight = 0
        # Turn, number of arrival, priority, weight, job.
        self.waiting: list[tuple[float, int, int, int, Job]] = []


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
        # Next hops with something waiting and a free slot of their own; dicts for their
        # order: all of them, and the same by the priority of what comes first.
        self._ready: dict[str, _Hop[Job]] = {}
        self._levels: dict[int, dict[str, _Hop[Job]]] = {}
        self._entered = 0
        self._served = 0

    def enter(
        self, name: str, job: Job, *, turn: float = 0.0, priority: int = 0, weight: int = 1
    ) -> bool:
        """Take a slot for *job*, whose next hop is *name*, and return True; or let it wait.

        :param turn: among those that wait for the same next hop, the lowest goes first.
        :param priority: among next hops, the highest goes first for the most part.
        :param weight: what it counts for in `weight_waiting`.
        """
        hop = self._hops.get(name)
        if hop is None:
            hop = self._hops[name] = _Hop()
        if hop.under_way < self._per_hop and self.under_way < self._total and not hop.waiting:
            self.under_way += 1
            hop.under_way += 1
            return True
        self._entered += 1
        hop.weight += weight
        heappush(hop.waiting, (turn, self._entered, priority, weight, job))
        if hop.under_way < self._per_hop:
            self._make_ready(name, hop)
        return False

    def weight_waiting(self, name: str) -> int:
        """How much waits for the next hop *name*, by weight."""
        hop = self._hops.get(name)
        return 0 if hop is None else hop.weight

    def leave(self, name: str) -> None:
        """Give back a slot that the next hop *name* held."""
        hop = self._hops[name]
        self.under_way -= 1
        hop.under_way -= 1
        if hop.waiting:
            self._make_ready(name, hop)
        elif not hop.under_way:
            del self._hops[name]

    def next(self) -> tuple[str, Job] | None:
        """Take a slot for the job whose turn it is: its next hop and the job, None if none may."""
        if not self._ready or self.under_way >= self._total:
            return None
        self._served += 1
        if self._served % FAIR_TURN and len(self._levels) > 1:
            ready = self._levels[max(self._levels)]
        else:
            ready = self._ready
        name, hop = next(iter(ready.items()))
        self._make_unready(name, hop)
        _turn, _number, _priority, weight, job = heappop(hop.waiting)
        hop.weight -= weight
        self.under_way += 1
        hop.under_way += 1
        if hop.waiting and hop.under_way < self._per_hop:
            self._make_ready(name, hop)
        return name, job

    def clear(self) -> list[tuple[str, Job]]:
        """Take out all that wait, each with its next hop; what is under way stays."""
        waiting = [
            (name, entry[-1]) for name, hop in self._hops.items() for entry in sorted(hop.waiting)
        ]
        self._ready.clear()
        self._levels.clear()
        self._hops = {name: hop for name, hop in self._hops.items() if hop.under_way}
        for hop in self._hops.values():
            hop.waiting.clear()
            hop.weight = 0
        return waiting

    def _make_ready(self, name: str, hop: _Hop[Job]) -> None:
        """Let the next hop be served, behind the others; it keeps its place if it has one."""
        level = hop.waiting[0][2]
        if name not in self._ready:
            self._ready[name] = hop
        elif hop.level != level:
            self._leave_level(name, hop)
        else:
            return
        hop.level = level
        self._levels.setdefault(level, {})[name] = hop

    def _make_unready(self, name: str, hop: _Hop[Job]) -> None:
        del self._ready[name]
        self._leave_level(name, hop)

    def _leave_level(self, name: str, hop: _Hop[Job]) -> None:
        ready = self._levels[hop.level]
        del ready[name]
        if not ready:
            del self._levels[hop.level]
