"""How large a message may be, by login (`[[limits.login]]`)."""

import fnmatch
import re

from submitd.mail.login import login_key
from submitd.transport.options import LimitsOptions


class MessageSizes:
    """The limits of `[limits]` on the size of messages.

    :param limits: the whole table.
    :ivar largest_bytes: the largest of them all, in octets: what EHLO says before it is
        known who the client is (RFC 1870 §4).
    """

    def __init__(self, limits: LimitsOptions) -> None:
        self._usual_bytes = limits.message_size_bytes
        self._rules = [
            (re.compile(fnmatch.translate(login_key(name))), own.message_size_bytes)
            for own in limits.login
            for name in own.names
        ]
        self.largest_bytes = max((self._usual_bytes, *(size for _, size in self._rules)))

    def of(self, login: str) -> int:
        """Octets of the largest message that *login* may send: the first rule that names it."""
        key = login_key(login)
        for pattern, size_bytes in self._rules:
            if pattern.match(key):
                return size_bytes
        return self._usual_bytes
