"""submitd.auth.throttle: refusals that take longer and longer, by address."""

import pytest
from twisted.internet.task import Clock

from submitd.auth.throttle import FORGET_S, FREE_FAILURES, LONGEST_DELAY_S, LoginThrottle


def fail(throttle: LoginThrottle, address: str, times: int) -> list[float]:
    """Fail some times; the delay after each."""
    delays = []
    for _ in range(times):
        throttle.failed(address)
        delays.append(throttle.delay_s(address))
    return delays


def test_delay_grows_to_a_limit() -> None:
    """The first failures cost nothing, the next ones double the delay up to a limit."""
    throttle = LoginThrottle(Clock().seconds)
    assert throttle.delay_s("192.0.2.1") == 0
    delays = fail(throttle, "192.0.2.1", 2000)
    assert delays[: FREE_FAILURES + 5] == [0] * FREE_FAILURES + [1, 2, 4, 8, 16]
    assert delays[-1] == LONGEST_DELAY_S


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("/run/socket", "/run/other", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    """IPv4 counts by address, IPv6 by /64, an IPv4-mapped address as IPv4."""
    throttle = LoginThrottle(Clock().seconds)
    fail(throttle, one, 10)
    assert (throttle.delay_s(other) > 0) == same


def test_a_quiet_hour_forgives_all() -> None:
    """After a time without failures an address begins anew."""
    clock = Clock()
    throttle = LoginThrottle(clock.seconds)
    fail(throttle, "192.0.2.1", 10)
    clock.advance(FORGET_S - 1)
    assert throttle.delay_s("192.0.2.1") == LONGEST_DELAY_S
    clock.advance(1)
    assert throttle.delay_s("192.0.2.1") == 0


def test_a_success_forgives_half() -> None:
    """One good login in between does not make further guesses free, several do."""
    throttle = LoginThrottle(Clock().seconds)
    throttle.succeeded("192.0.2.1")
    fail(throttle, "192.0.2.1", 8)
    throttle.succeeded("192.0.2.1")
    assert throttle.delay_s("192.0.2.1") == 1
    for _ in range(3):
        throttle.succeeded("192.0.2.1")
    assert throttle.delay_s("192.0.2.1") == 0
    assert fail(throttle, "192.0.2.1", 1) == [0]


def test_memory_is_bounded() -> None:
    """With too many addresses, the one longest without a failure is forgotten."""
    throttle = LoginThrottle(Clock().seconds, addresses=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        fail(throttle, address, 10)
    delays = [throttle.delay_s(f"192.0.2.{last}") > 0 for last in (1, 2, 3)]
    assert delays == [True, False, True]
