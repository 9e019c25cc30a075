"""Queue ids: the time of arrival and a tag of the process, in base 32.

`1hd6v0q3r5cq8f2`: eleven digits of microseconds since 1970, which are also the key of
the message's row, and four drawn at random when the process starts, which keep apart
the ids of processes that run side by side.  As text, ids sort by time.
"""

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress

_DIGITS = "0123456789abcdefghijklmnopqrstuv"  # base 32 as int() reads it
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_KEY_DIGITS = 11  # 55 bits: enough until the year 3111
_TAG_DIGITS = 4


class IdMaker:
    """Makes queue ids without asking the disk.

    :param seconds: the clock, POSIX time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._last = 0
        self._tag = "".join(secrets.choice(_DIGITS) for _ in range(_TAG_DIGITS))

    def skip_to(self, key: int) -> None:
        """Let all ids from now on have keys above *key*, whatever the clock says."""
        self._last = max(self._last, key)

    def make(self) -> str:
        """A new id; its key is above that of every one before."""
        self._last = key = max(self._last + 1, int(self._seconds() * 1_000_000))
        return (
            f"{_DIGITS[key >> 50 & 31]}{_PAIRS[key >> 40 & 1023]}{_PAIRS[key >> 30 & 1023]}"
            f"{_PAIRS[key >> 20 & 1023]}{_PAIRS[key >> 10 & 1023]}{_PAIRS[key & 1023]}{self._tag}"
        )


def key_of(queue_id: str) -> int:
    """The key of the message's row.

    :raises ValueError: when *queue_id* can't be one of ours.
    """
    if len(queue_id) != _KEY_DIGITS + _TAG_DIGITS or not queue_id.isalnum():
        raise ValueError(f"{queue_id!r} is not a queue id")
    return int(queue_id[:_KEY_DIGITS], 32)


def keys_of(queue_ids: Iterable[str]) -> frozenset[int]:
    """The keys of those among *queue_ids* that can be ours."""
    keys = set()
    for queue_id in queue_ids:
        with suppress(ValueError):
            keys.add(key_of(queue_id))
    return frozenset(keys)
