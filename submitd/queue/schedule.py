"""When to try again, for how long, and in what order (RFC 5321 §4.5.4.1): options and
arithmetic, no clock."""

from collections.abc import Callable

import attrs

from submitd.interfaces import QueuedMessage
from submitd.options import at_least, option

JITTER = 0.1
"""How much is added to a wait at most, as a part of it: what failed at one time spreads out."""
LAST_CHANCE_S = 15.0
"""How long before its deliver-by time a message is tried for the last time: an attempt at
a server that answers takes less."""
HEAD_START_S = 3600.0
"""How much earlier a message has its turn for each step of priority (RFC 6710).  Urgent mail
passes hours of backlog; mail of the lowest priority waits 9 hours longer at most."""


def _is_schedule(waits_s: tuple[int, ...]) -> str | None:
    if waits_s and all(wait_s >= 1 for wait_s in waits_s):
        return None
    return "one number of seconds or more, none below 1"


@attrs.frozen(kw_only=True)
class DeliveryOptions:
    """Delivery from the queue: part of the table `[queue]`, whatever the store."""

    retry_schedule_s: tuple[int, ...] = option(
        "Seconds to wait after each attempt before the next one; the last number repeats."
        " Up to a tenth is added at random.",
        default=(60, 300, 900, 1800, 3600, 7200, 14400),
        check=_is_schedule,
    )
    # RFC 5321 §4.5.4.1: "the give-up time generally needs to be at least 4-5 days".
    expire_s: int = option(
        "Seconds after which a message that can't be delivered goes back to its sender.",
        default=432_000,
        check=at_least(0),
    )
    delay_notice_s: int = option(
        "Seconds after which the sender of a message that is still being tried is told so, once,"
        " unless it asked not to be (NOTIFY); 0 to never tell.",
        default=14_400,
        check=at_least(0),
    )
    return_bytes: int = option(
        "Largest message, in octets, that comes back whole with a report of its failure when its"
        " sender asked for that (RET=FULL); of a larger one the header comes back.",
        default=1_048_576,
        check=at_least(0),
    )
    concurrency: int = option(
        "Most deliveries under way at one time.", default=100, check=at_least(1)
    )
    concurrency_per_next_hop: int = option(
        "Most deliveries under way at one time to one next hop.", default=20, check=at_least(1)
    )
    memory_bytes: int = option(
        "Octets of messages kept in memory while they wait for delivery; further ones are read"
        " from the queue when their turn comes.",
        default=33_554_432,
        check=at_least(0),
    )


def turn_s(due_s: float, priority: int) -> float:
    """Where a message stands among those that wait, the lowest first.

    :param due_s: when its wait began, POSIX seconds.
    :param priority: MT-PRIORITY, from -9 to 9.
    """
    return due_s - priority * HEAD_START_S


def released_s(message: QueuedMessage) -> float:
    """When the message could be sent first: at its arrival, or later if so asked (RFC 4865)."""
    return max(message.arrived_s, message.envelope.hold_until_s or 0.0)


def expires_at(message: QueuedMessage, options: DeliveryOptions) -> float:
    """When a message fails that could not be delivered, POSIX seconds.

    That is when it expires, or when its sender wants it back (RFC 2852, mode R).
    """
    when_s = released_s(message) + options.expire_s
    by = message.envelope.deliver_by
    return when_s if by is None or by.mode != "R" else min(when_s, by.at_s)


def is_too_late(message: QueuedMessage, now_s: float) -> bool:
    """Whether the sender doesn't want it to be delivered any more (RFC 2852, mode R)."""
    by = message.envelope.deliver_by
    return by is not None and by.mode == "R" and now_s >= by.at_s


def retry_at(
    message: QueuedMessage, now_s: float, options: DeliveryOptions, random: Callable[[], float]
) -> float | None:
    """When a message is to be tried again, or None when it has expired.

    The last attempt is made when the message expires, however long the wait before it
    would have been; just before its deliver-by time in mode R.  In mode N one is made
    at that time, so that the sender is told in time.

    :param message: its `attempts` are those before the last one.
    :param now_s: when the last attempt was made, POSIX seconds.
    :param random: gives a number from 0 to 1.
    """
    until_s = expires_at(message, options)
    if now_s >= until_s:
        return None
    waits_s = options.retry_schedule_s
    wait_s = waits_s[min(message.attempts, len(waits_s) - 1)]
    when_s = min(now_s + wait_s * (1 + JITTER * random()), until_s)
    by = message.envelope.deliver_by
    if by is not None:
        attempt_s = by.at_s - LAST_CHANCE_S if by.mode == "R" else by.at_s
        if now_s < attempt_s:
            when_s = min(when_s, attempt_s)
    return when_s


def is_long_delayed(message: QueuedMessage, now_s: float, options: DeliveryOptions) -> bool:
    """Whether it is time to tell the sender of a delay, and was not done yet."""
    since_s = released_s(message) + options.delay_notice_s
    return options.delay_notice_s > 0 and _is_news(message, since_s, now_s)


def is_late(message: QueuedMessage, now_s: float) -> bool:
    """Whether its deliver-by time (RFC 2852, mode N) has passed and nobody was told yet."""
    by = message.envelope.deliver_by
    return by is not None and by.mode == "N" and _is_news(message, by.at_s, now_s)


def _is_news(message: QueuedMessage, since_s: float, now_s: float) -> bool:
    told_s = message.delay_told_s
    return now_s >= since_s and (told_s is None or told_s < since_s)
