"""What every user database promises (`submitd.interfaces.IUserDatabase`), as one suite.

Subclass `UserDatabaseContract` with a fixture `site` that gives a `UserSite` whose
database holds the users of `PASSWORDS`, those in `DISABLED` disabled:

    class TestMyDatabase(UserDatabaseContract):
        @pytest.fixture
        def site(self):
            ...
"""

from typing import Any, Protocol

import pytest
from zope.interface.verify import verifyObject

from submitd.interfaces import AuthFailure, AuthResult, IUserDatabase

PASSWORDS = {
    "alice@example.org": "correct horse battery staple",
    "bob": "pass:word #1",
    "jürgen@example.org": "Grüße, 世界 🔑",
    "carol": "carol was here",
}
DISABLED = ("carol",)
WRONG = {
    "another": "wrong",
    "another user's": PASSWORDS["bob"],
    "other case": "CORRECT HORSE BATTERY STAPLE",
    "space behind": PASSWORDS["alice@example.org"] + " ",
    "cut short": PASSWORDS["alice@example.org"][:-1],
    "empty": "",
    "NUL behind": PASSWORDS["alice@example.org"] + "\0",
    "NUL alone": "\0",
    "line end": PASSWORDS["alice@example.org"] + "\r\n",
    "half a surrogate": "\ud800",
    "as long as AUTH allows": "x" * 12_288,
    "long, right at first": PASSWORDS["alice@example.org"] + "x" * 12_288,
}
NOBODY = {
    "unknown": "mallory",
    "empty": "",
    "NUL behind": "bob\0",
    "colon": "bob:",
    "comment": "#bob",
    "line end": "bob\n",
    "wildcard": "*",
    "half a surrogate": "\udcff",
    "long": "b" * 12_288,
}


class UserSite(Protocol):
    """A database under test.

    :ivar database: a fresh one; the suite stops it.
    """

    database: IUserDatabase

    def wait(self, eventual: Any) -> Any:
        """The value of *eventual*; raises what it fails with."""


class UserDatabaseContract:
    """The suite."""

    @pytest.fixture(autouse=True)
    def _stopped(self, site: UserSite) -> Any:
        yield
        site.wait(site.database.stop())

    def verify(self, site: UserSite, login: str, password: str) -> AuthResult:
        """One login, to its end."""
        result = site.wait(site.database.verify_password(login, password))
        assert isinstance(result, AuthResult)
        assert (result.login is None) == (result.failure is not None)
        return result

    def test_interface(self, site: UserSite) -> None:
        """It provides the interface."""
        assert verifyObject(IUserDatabase, site.database)

    @pytest.mark.parametrize("login", sorted(set(PASSWORDS) - set(DISABLED)))
    def test_right_password(self, site: UserSite, login: str) -> None:
        """The right password is good, a second time too, and the name is the database's."""
        for _ in range(2):
            assert self.verify(site, login, PASSWORDS[login]) == AuthResult(login)

    @pytest.mark.parametrize("password", WRONG.values(), ids=WRONG)
    def test_wrong_password(self, site: UserSite, password: str) -> None:
        """Any other password is refused, after a good login as well as before."""
        refused = AuthResult(None, AuthFailure.WRONG_PASSWORD)
        assert self.verify(site, "alice@example.org", password) == refused
        self.verify(site, "alice@example.org", PASSWORDS["alice@example.org"])
        assert self.verify(site, "alice@example.org", password) == refused

    @pytest.mark.parametrize("login", NOBODY.values(), ids=NOBODY)
    @pytest.mark.parametrize("password", [PASSWORDS["bob"], "", "\0"], ids=["good", "empty", "NUL"])
    def test_unknown_user(self, site: UserSite, login: str, password: str) -> None:
        """A name that nobody has is refused, whatever the password."""
        result = self.verify(site, login, password)
        assert result == AuthResult(None, AuthFailure.UNKNOWN_USER)

    @pytest.mark.parametrize("password", [PASSWORDS["carol"], "wrong", ""])
    def test_disabled_user(self, site: UserSite, password: str) -> None:
        """A disabled user is refused with the right password too."""
        assert self.verify(site, "carol", password) == AuthResult(None, AuthFailure.DISABLED)

    def test_many_at_once(self, site: UserSite) -> None:
        """However many log in at one time, each gets an answer: the right one or "away"."""
        attempts = [
            (login, f"wrong {number}" if number % 2 else PASSWORDS[login])
            for number in range(400)
            for login in ("alice@example.org", "mallory" if number % 3 else "bob")
            if login in PASSWORDS or number % 2
        ]
        answers = [site.database.verify_password(*attempt) for attempt in attempts]
        for (login, password), answer in zip(attempts, answers, strict=True):
            result = site.wait(answer)
            good = PASSWORDS.get(login) == password
            if result.failure is not AuthFailure.UNAVAILABLE:
                assert result.login == (login if good else None)

    def test_stop(self, site: UserSite) -> None:
        """Stopping leaves no login without an answer, and can be asked for twice."""
        answers = [site.database.verify_password("bob", f"wrong {n}") for n in range(20)]
        stopped = [site.database.stop(), site.database.stop()]
        for answer in answers:
            assert site.wait(answer).login is None
        for each in stopped:
            site.wait(each)
        site.wait(site.database.verify_password("bob", PASSWORDS["bob"]))
