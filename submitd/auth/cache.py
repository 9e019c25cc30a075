"""Remembers successful verifications, so that a client that comes back costs microseconds."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable


class SuccessCache:
    """The tokens of recent successes; a token can't be turned back into what it stands for.

    :param seconds: the clock.
    :param entries: how many tokens are kept; the one longest unused goes first.
    :param lifetime_s: how long a success counts, from the verification on.
    """

    def __init__(self, seconds: Callable[[], float], entries: int, lifetime_s: float) -> None:
        self._seconds = seconds
        self._entries = entries
        self._lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)
        self._expires_s: OrderedDict[bytes, float] = OrderedDict()

    def token(self, *parts: str) -> bytes:
        """A MAC over *parts* with a key that only this process has.

        The stored hash being one of the parts, a changed password is a miss by itself.
        """
        mac = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            octets = part.encode(errors="surrogatepass")
            mac.update(len(octets).to_bytes(8, "big"))
            mac.update(octets)
        return mac.digest()

    def knows(self, token: bytes) -> bool:
        """Whether *token* was remembered and still counts."""
        expires_s = self._expires_s.get(token)
        if expires_s is None:
            return False
        left_s = expires_s - self._seconds()
        # More than a whole life left: the clock was set back.
        if not 0 < left_s <= self._lifetime_s:
            del self._expires_s[token]
            return False
        self._expires_s.move_to_end(token)
        return True

    def remember(self, token: bytes) -> None:
        """Note a success."""
        self._expires_s[token] = self._seconds() + self._lifetime_s
        self._expires_s.move_to_end(token)
        while len(self._expires_s) > self._entries:
            self._expires_s.popitem(last=False)
