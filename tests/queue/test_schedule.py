"""When a message is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.queue.schedule import JITTER, DeliveryOptions, retry_at

OPTIONS = DeliveryOptions(retry_schedule_s=(60, 300, 900), expire_s=10_000)


def no_jitter() -> float:
    """The least number a source of chance gives."""
    return 0.0


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, 60), (2, 300), (3, 900), (4, 900), (1000, 900)]
)
def test_schedule(attempts: int, wait_s: int) -> None:
    """Each attempt has its wait, and the last one repeats."""
    assert retry_at(attempts, 0, 5, OPTIONS, no_jitter) == 5 + wait_s


def test_last_attempt_is_at_the_expiry() -> None:
    """A wait that would go past the expiry ends there; after that there is no other attempt."""
    assert retry_at(4, 0, 9_500, OPTIONS, no_jitter) == 10_000
    assert retry_at(5, 0, 9_999.9, OPTIONS, no_jitter) == 10_000
    assert retry_at(6, 0, 10_000, OPTIONS, no_jitter) is None
    assert retry_at(1, 0, 99_999, OPTIONS, no_jitter) is None


@given(st.integers(1, 50), st.floats(0, 9_999), st.floats(0, 1))
def test_jitter_stays_within_its_bound(attempts: int, now_s: float, chance: float) -> None:
    """Chance makes a wait longer by a tenth at most, and never shorter."""
    wait_s = (60, 300, 900)[min(attempts, 3) - 1]
    when_s = retry_at(attempts, 0, now_s, OPTIONS, lambda: chance)
    assert when_s is not None
    assert min(now_s + wait_s, 10_000) <= when_s <= now_s + wait_s * (1 + JITTER) + 1e-6
    assert when_s <= 10_000


def test_default_schedule() -> None:
    """Without options a message is tried for five days, soon at first (RFC 5321 §4.5.4.1)."""
    options = DeliveryOptions()
    now_s, attempts = 0.0, 0
    while True:
        attempts += 1
        when_s = retry_at(attempts, 0, now_s, options, no_jitter)
        if when_s is None:
            break
        now_s = when_s
    assert now_s == 5 * 24 * 3600
    assert 30 < attempts < 50


@pytest.mark.parametrize("schedule", [(), (0,), (60, -1)])
def test_impossible_schedules_are_refused(schedule: tuple[int, ...]) -> None:
    """A schedule that has no wait, or one below a second, is a fault of the configuration."""
    with pytest.raises(ValueError, match="seconds"):
        DeliveryOptions(retry_schedule_s=schedule)
