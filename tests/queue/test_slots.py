"""Bounds over all and for each next hop, and turns among those that wait."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.queue.slots import FAIR_TURN, Slots


def test_bound_of_one_next_hop() -> None:
    """A next hop holds no more than its share, and others go past what waits for it."""
    slots: Slots[int] = Slots(total=10, per_hop=2)
    assert [slots.enter("dead", number) for number in range(5)] == [True, True, False, False, False]
    assert slots.enter("alive", 9)
    assert slots.under_way == 3
    assert slots.next() is None
    slots.leave("dead")
    assert slots.next() == ("dead", 2)
    assert slots.next() is None


def test_bound_over_all() -> None:
    """No more slots are taken than there are, and free ones go to the next hops in turn."""
    slots: Slots[str] = Slots(total=2, per_hop=2)
    for job in ("a1", "a2", "a3", "a4"):
        slots.enter("a", job)
    for job in ("b1", "b2", "c1"):
        assert not slots.enter(job[0], job)
    order: list[str] = []
    for _ in range(5):
        slots.leave(order[-2][0] if len(order) > 1 else "a")
        following = slots.next()
        assert following is not None
        assert slots.next() is None
        order.append(following[1])
    assert sorted(order) == ["a3", "a4", "b1", "b2", "c1"]
    assert set(order[:3]) == {"b1", "c1", "a3"}


def test_clear_gives_back_all_that_wait() -> None:
    """What waits is taken out in its order; what is under way keeps its slot."""
    slots: Slots[int] = Slots(total=2, per_hop=1)
    for number, hop in enumerate("aabbc"):
        slots.enter(hop, number)
    assert slots.clear() == [("a", 1), ("b", 3), ("c", 4)]
    assert slots.under_way == 2
    slots.leave("a")
    assert slots.next() is None
    assert slots.enter("c", 5)


def test_urgent_jobs_go_first() -> None:
    """Among those for one next hop and among next hops, what is urgent has its turn first."""
    slots: Slots[str] = Slots(total=1, per_hop=1)
    assert slots.enter("a", "first")
    for turn, (hop, job, priority) in enumerate(
        [("a", "a0", 0), ("a", "a4", 4), ("b", "b0", 0), ("c", "c0", 0), ("c", "c9", 9)]
    ):
        assert not slots.enter(hop, job, turn=turn - 1000 * priority, priority=priority)
    order: list[str] = []
    hop = "a"
    for _ in range(5):
        slots.leave(hop)
        following = slots.next()
        assert following is not None
        hop, job = following
        order.append(job)
    assert order == ["c9", "a4", "b0", "c0", "a0"]


def test_urgent_jobs_do_not_starve_others() -> None:
    """However much urgent mail keeps coming, every next hop has its turn."""
    slots: Slots[str] = Slots(total=1, per_hop=1)
    assert slots.enter("urgent", "")
    for hop in ("a", "b"):
        slots.enter(hop, hop)
    served = []
    hop = "urgent"
    for number in range(4 * FAIR_TURN):
        slots.enter(f"urgent{number}", "", priority=4)
        slots.leave(hop)
        following = slots.next()
        assert following is not None
        hop, job = following
        served.append(job)
    assert {"a", "b"} <= set(served)


def test_weight_of_what_waits() -> None:
    """Only what waits is weighed, and nothing is left of it in the end."""
    slots: Slots[int] = Slots(total=1, per_hop=1)
    slots.enter("a", 1, weight=5)
    assert slots.weight_waiting("a") == slots.weight_waiting("other") == 0
    slots.enter("a", 2, weight=7)
    slots.enter("a", 3, weight=11)
    assert slots.weight_waiting("a") == 18
    slots.leave("a")
    assert slots.next() == ("a", 2)
    assert slots.weight_waiting("a") == 11
    slots.clear()
    assert slots.weight_waiting("a") == 0


@settings(max_examples=60)
@given(
    total=st.integers(1, 6),
    per_hop=st.integers(1, 4),
    steps=st.lists(st.sampled_from(["a", "b", "c", "leave a", "leave b", "leave c"]), max_size=60),
    priorities=st.lists(st.integers(-2, 2), min_size=60, max_size=60),
)
def test_bounds_hold_and_nothing_is_lost(
    total: int, per_hop: int, steps: list[str], priorities: list[int]
) -> None:
    """Whatever comes and goes, the bounds hold, no slot lies idle and each job starts once."""
    slots: Slots[int] = Slots(total, per_hop)
    started: list[int] = []
    held: Counter[str] = Counter()
    entered = 0

    def fill() -> None:
        while (following := slots.next()) is not None:
            held[following[0]] += 1
            started.append(following[1])

    for step in steps:
        if not step.startswith("leave"):
            entered += 1
            priority = priorities[entered - 1]
            if slots.enter(step, entered, turn=-priority, priority=priority):
                held[step] += 1
                started.append(entered)
        elif held[step[-1]]:
            held[step[-1]] -= 1
            slots.leave(step[-1])
            fill()
        assert slots.under_way == held.total() <= total
        assert all(count <= per_hop for count in held.values())
    while held.total():
        for hop in [name for name, count in held.items() if count]:
            held[hop] -= 1
            slots.leave(hop)
            fill()
    assert sorted(started) == list(range(1, entered + 1))
