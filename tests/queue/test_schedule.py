"""When a message is tried again, until when, and in what order."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.interfaces import QueuedMessage
from submitd.mail.envelope import DeliverBy
from submitd.queue.schedule import (
    HEAD_START_S,
    JITTER,
    LAST_CHANCE_S,
    DeliveryOptions,
    expires_at,
    is_late,
    is_long_delayed,
    is_too_late,
    retry_at,
    turn_s,
)
from submitd.testing import envelope, queued

OPTIONS = DeliveryOptions(retry_schedule_s=(60, 300, 900), expire_s=10_000, delay_notice_s=1000)


def no_jitter() -> float:
    """The least number a source of chance gives."""
    return 0.0


def tried(
    attempts: int, by: DeliverBy | None = None, hold_until_s: float | None = None
) -> QueuedMessage:
    """A message that arrived at 0 and has just been tried for the given time."""
    what = attrs.evolve(envelope(), deliver_by=by, hold_until_s=hold_until_s)
    message = queued(what=what, arrived_s=0.0)
    message.attempts = attempts - 1
    return message


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, 60), (2, 300), (3, 900), (4, 900), (1000, 900)]
)
def test_schedule(attempts: int, wait_s: int) -> None:
    """Each attempt has its wait, and the last one repeats."""
    assert retry_at(tried(attempts), 5, OPTIONS, no_jitter) == 5 + wait_s


def test_last_attempt_is_at_the_expiry() -> None:
    """A wait that would go past the expiry ends there; after that there is no other attempt."""
    assert retry_at(tried(4), 9_500, OPTIONS, no_jitter) == 10_000
    assert retry_at(tried(5), 9_999.9, OPTIONS, no_jitter) == 10_000
    assert retry_at(tried(6), 10_000, OPTIONS, no_jitter) is None
    assert retry_at(tried(1), 99_999, OPTIONS, no_jitter) is None


@given(st.integers(1, 50), st.floats(0, 9_999), st.floats(0, 1))
def test_jitter_stays_within_its_bound(attempts: int, now_s: float, chance: float) -> None:
    """Chance makes a wait longer by a tenth at most, and never shorter."""
    wait_s = (60, 300, 900)[min(attempts, 3) - 1]
    when_s = retry_at(tried(attempts), now_s, OPTIONS, lambda: chance)
    assert when_s is not None
    assert min(now_s + wait_s, 10_000) <= when_s <= now_s + wait_s * (1 + JITTER) + 1e-6
    assert when_s <= 10_000


def test_default_schedule() -> None:
    """Without options a message is tried for five days, soon at first (RFC 5321 §4.5.4.1)."""
    options = DeliveryOptions()
    now_s, attempts = 0.0, 0
    while True:
        attempts += 1
        when_s = retry_at(tried(attempts), now_s, options, no_jitter)
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


def test_expiry_counts_from_the_release() -> None:
    """A message that was held for its sender has its whole time after that (RFC 4865)."""
    message = tried(9, hold_until_s=50_000.0)
    assert expires_at(message, OPTIONS) == 60_000
    assert retry_at(message, 59_500, OPTIONS, no_jitter) == 60_000
    assert not is_long_delayed(message, 50_999, OPTIONS)
    assert is_long_delayed(message, 51_000, OPTIONS)


def test_returned_at_the_deliver_by_time() -> None:
    """In mode R there is a last attempt just before the time, and the end comes at the time."""
    message = tried(3, DeliverBy(500.0, "R"))
    assert retry_at(message, 100, OPTIONS, no_jitter) == 500 - LAST_CHANCE_S
    assert retry_at(message, 490, OPTIONS, no_jitter) == 500
    assert retry_at(message, 500, OPTIONS, no_jitter) is None
    assert not is_too_late(message, 499.9)
    assert is_too_late(message, 500)
    assert expires_at(tried(1, DeliverBy(99_999.0, "R")), OPTIONS) == 10_000


def test_told_at_the_deliver_by_time() -> None:
    """In mode N there is an attempt at the time, the sender is told, and it goes on."""
    message = tried(3, DeliverBy(500.0, "N"))
    assert retry_at(message, 100, OPTIONS, no_jitter) == 500
    assert not is_late(message, 499)
    assert is_late(message, 500)
    assert not is_too_late(message, 500)
    assert retry_at(message, 500, OPTIONS, no_jitter) == 1400
    message.delay_told_s = 501.0
    assert not is_late(message, 1400)


def test_long_delay_is_told_once() -> None:
    """A delay is news until it was told, and another one told before doesn't count."""
    message = tried(3)
    assert not is_long_delayed(message, 999, OPTIONS)
    assert is_long_delayed(message, 1000, OPTIONS)
    message.delay_told_s = 500.0
    assert is_long_delayed(message, 1000, OPTIONS)
    message.delay_told_s = 1100.0
    assert not is_long_delayed(message, 1200, OPTIONS)
    never = DeliveryOptions(delay_notice_s=0)
    assert not is_long_delayed(tried(1), 1e6, never)


def test_turns() -> None:
    """Each step of priority is worth an hour of waiting, and no more."""
    assert turn_s(5000, 1) == turn_s(5000 - HEAD_START_S, 0)
    assert turn_s(5000, -9) > turn_s(5000, 0) > turn_s(5000, 9)
    assert turn_s(0, -9) < turn_s(18 * HEAD_START_S + 1, 9)
