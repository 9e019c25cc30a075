"""What goes wrong with storage, in the words of the store's interface."""

import errno
import sqlite3
from collections.abc import Callable

from submitd.interfaces import StoreFull

Before = Callable[[str], None]
"""Called with its name ahead of each step of storing; what it raises, the step fails with."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def as_storage_error(error: Exception) -> Exception:
    """What a caller is told: `StoreFull`, `OSError`, or *error* itself where storage has no part.

    :param error: from SQLite or from the operating system.
    """
    if isinstance(error, sqlite3.Error):
        # Absent where Python itself, not SQLite, objects.
        code = getattr(error, "sqlite_errorcode", None)
        kind = StoreFull if code == sqlite3.SQLITE_FULL else OSError
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        kind = StoreFull
    else:
        return error
    translated = kind(str(error))
    translated.__cause__ = error
    return translated


def nothing(step: str) -> None:
    """Let every step go on: a `Before` for all but tests."""
