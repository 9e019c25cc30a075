"""When to try again, and for how long (RFC 5321 §4.5.4.1): options and arithmetic, no clock."""

from collections.abc import Callable

import attrs

from submitd.options import at_least, option

JITTER = 0.1
"""How much is added to a wait at most, as a part of it: what failed at one time spreads out."""


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


def retry_at(
    attempts: int,
    arrived_s: float,
    now_s: float,
    options: DeliveryOptions,
    random: Callable[[], float],
) -> float | None:
    """When a message is to be tried again, or None when it has expired.

    The last attempt is made when the message expires, however long the wait before
    it would have been.

    :param attempts: how many have been made, at least 1.
    :param arrived_s: when the message arrived, POSIX seconds.
    :param now_s: when the last attempt was made, POSIX seconds.
    :param random: gives a number from 0 to 1.
    """
    expires_s = arrived_s + options.expire_s
    if now_s >= expires_s:
        return None
    waits_s = options.retry_schedule_s
    wait_s = waits_s[min(attempts, len(waits_s)) - 1]
    return min(now_s + wait_s * (1 + JITTER * random()), expires_s)
