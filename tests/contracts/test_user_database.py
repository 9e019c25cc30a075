"""The contract of user databases, kept by those that come with submitd."""

from pathlib import Path
from typing import Any

import pytest

from submitd.auth.hashing import hash_password
from submitd.auth.htfile import with_user
from submitd.auth.htpasswd import HtpasswdFactory, HtpasswdOptions
from submitd.interfaces import IUserDatabase, Site
from submitd.testing import StaticUsers, ThreadedClock, now
from tests.contracts.user_database import DISABLED, PASSWORDS, UserDatabaseContract


class HtpasswdSite:
    """An htpasswd database over a file with cheap hashes."""

    def __init__(self, directory: Path) -> None:
        data = b""
        for login, password in PASSWORDS.items():
            stored = hash_password(password, rounds=4)
            data = with_user(data, login, stored, disabled=login in DISABLED)
        file = directory / "users.htpasswd"
        file.write_bytes(data)
        self._clock = ThreadedClock()
        self.database: IUserDatabase = HtpasswdFactory().build(
            HtpasswdOptions(file=file), Site("mail.example.org", self._clock)
        )

    def wait(self, eventual: Any) -> Any:
        """What the threads bring."""
        return self._clock.wait(eventual)


class TestHtpasswd(UserDatabaseContract):
    """The htpasswd file."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> HtpasswdSite:
        """A fresh one."""
        return HtpasswdSite(tmp_path)


class StaticSite:
    """The stand-in for users' own tests."""

    def __init__(self) -> None:
        self.database: IUserDatabase = StaticUsers(PASSWORDS, DISABLED)

    def wait(self, eventual: Any) -> Any:
        """What is there at once."""
        return now(eventual)


class TestStaticUsers(UserDatabaseContract):
    """`submitd.testing.StaticUsers`."""

    @pytest.fixture
    def site(self) -> StaticSite:
        """A fresh one."""
        return StaticSite()
