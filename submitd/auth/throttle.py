"""Slows down those who guess passwords, by address; a good login is never held up."""

from collections import OrderedDict
from collections.abc import Callable

from submitd.transport.addresses import Place, client_and_network

FREE_FAILURES = 3  # a person who mistypes notices nothing
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 16.0  # clients wait 30 s and more for a reply
FORGET_S = 3600  # a quiet hour wipes the slate
ADDRESSES = 10_000  # some 2 MB


class LoginThrottle:
    """Counts failed logins for each address and says how long to hold back the next refusal.

    An IPv6 client has a whole /64 to itself, so these count as one address.  A success
    forgives half of the failures: not all, or one account of one's own would buy
    unlimited guesses at the others.

    :param seconds: the clock.
    :param addresses: how many addresses are remembered; the one longest without a
        failure is forgotten first.
    """

    def __init__(self, seconds: Callable[[], float], addresses: int = ADDRESSES) -> None:
        self._seconds = seconds
        self._addresses = addresses
        self._failures: OrderedDict[Place, tuple[int, float]] = OrderedDict()

    def delay_s(self, address: str) -> float:
        """Seconds to wait before a failed login from *address* is answered; 0 at first."""
        beyond = self._count(_client(address)) - FREE_FAILURES
        if beyond <= 0:
            return 0.0
        # The exponent is bounded before the power is taken: 2.0**1024 overflows.
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(beyond - 1, 32))

    def failed(self, address: str) -> None:
        """A login from *address* was refused."""
        client = _client(address)
        self._failures[client] = (self._count(client) + 1, self._seconds())
        self._failures.move_to_end(client)
        if len(self._failures) > self._addresses:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """A login from *address* was good."""
        client = _client(address)
        count = self._count(client) // 2
        if count:
            self._failures[client] = (count, self._failures[client][1])
        else:
            self._failures.pop(client, None)

    def _count(self, client: Place) -> int:
        count, last_s = self._failures.get(client, (0, 0.0))
        if count and abs(self._seconds() - last_s) >= FORGET_S:
            del self._failures[client]
            return 0
        return count


def _client(address: str) -> Place:
    return client_and_network(address)[0]
