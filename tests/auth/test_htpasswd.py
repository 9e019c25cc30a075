"""submitd.auth.htpasswd: logins against a file that changes; what each of them costs."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from submitd.auth import hashing
from submitd.auth.hashing import hash_password
from submitd.auth.htpasswd import HtpasswdDatabase, HtpasswdFactory, HtpasswdOptions
from submitd.interfaces import AuthFailure, AuthResult, IUserDatabaseFactory, Site
from submitd.testing import ThreadedClock

SECRET = hash_password("secret", rounds=4)
OTHER = hash_password("other", rounds=4)
SHA = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="


class Users:
    """A database over a file, with a clock, and all verifications written down."""

    def __init__(self, file: Path, text: str, **options: Any) -> None:
        self.clock = ThreadedClock()
        self.file = file
        self.file.write_text(text)
        self.checked: list[tuple[str, str]] = []
        self.database = HtpasswdDatabase(
            HtpasswdOptions(file=file, threads=1, **options),
            Site("mail.example.org", self.clock),
            self._check,
        )

    def _check(self, secret: str, stored: str) -> bool:
        self.checked.append((secret, stored))
        return hashing.check(secret, stored)

    def login(self, login: str, password: str) -> AuthResult:
        """One login, to its end."""
        result = self.clock.wait(self.database.verify_password(login, password))
        assert isinstance(result, AuthResult)
        return result

    def cost(self, login: str, password: str) -> tuple[AuthFailure | None, list[str]]:
        """Why a login fails, and the hashes it was verified against."""
        self.checked.clear()
        failure = self.login(login, password).failure
        return failure, [stored for _, stored in self.checked]

    def write(self, text: str) -> None:
        """Change the file, and let a second go by."""
        self.file.write_text(text)
        self.clock.advance(1)


MakeUsers = Callable[..., Users]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes `Users`; stops them at the end."""
    made: list[Users] = []

    def make(text: str, **options: Any) -> Users:
        made.append(Users(tmp_path / "users.htpasswd", text, **options))
        return made[-1]

    yield make
    for users in made:
        users.clock.wait(users.database.stop())


def test_factory(tmp_path: Path) -> None:
    """The factory has what a plugin needs, and tells the operator what is wrong with the file."""
    factory = HtpasswdFactory()
    assert verifyObject(IUserDatabaseFactory, factory)
    assert (factory.name, factory.options) == ("htpasswd", HtpasswdOptions)
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"{missing}: No such file.*submitctl user add"):
        factory.build(HtpasswdOptions(file=missing), Site("mail.example.org", ThreadedClock()))


def test_the_name_is_the_one_of_the_file(make: MakeUsers) -> None:
    """A user may log in with any case and gets the name that the file has."""
    users = make(f"Alice@Example.org:{SECRET}\n")
    assert users.login("aLICE@eXAMPLE.ORG", "secret") == AuthResult("Alice@Example.org")


def test_composition_of_the_password_does_not_matter(make: MakeUsers) -> None:
    """A password typed on a system that decomposes letters is the same password."""
    users = make("ann:" + hash_password("Gr\u00fc\u00dfe", rounds=4))
    assert users.login("ann", "Gru\u0308\u00dfe") == AuthResult("ann")


def test_a_password_that_apache_hashed_as_typed(make: MakeUsers) -> None:
    """A hash of decomposed letters is matched by them, at the same cost for unknown users."""
    typed = "Gru\u0308\u00dfe"
    digest = base64.b64encode(hashlib.sha1(typed.encode()).digest()).decode()
    users = make(f"ann:{{SHA}}{digest}\n")
    assert users.login("ann", typed) == AuthResult("ann")
    assert users.login("ann", "Gr\u00fc\u00dfe").failure is AuthFailure.WRONG_PASSWORD
    assert users.cost("ann", "wu\u0308st")[1] == users.cost("nobody", "wu\u0308st")[1]


def test_a_success_is_remembered(make: MakeUsers) -> None:
    """A second login with the same password is answered at once, without a verification."""
    users = make(f"ann:{SECRET}\n")
    users.login("ann", "secret")
    assert users.database.verify_password("ANN", "secret") == AuthResult("ann")
    assert users.cost("ann", "secret") == (None, [])
    assert users.cost("ann", "wrong") == (AuthFailure.WRONG_PASSWORD, [SECRET])
    assert users.cost("ann", "wrong") == (AuthFailure.WRONG_PASSWORD, [SECRET])
    users.clock.advance(3600)
    assert users.cost("ann", "secret") == (None, [SECRET])


def test_a_changed_password_counts_within_a_second(make: MakeUsers) -> None:
    """After a change the old password is refused although it was remembered, the new one good."""
    users = make(f"ann:{SECRET}\n")
    assert users.login("ann", "secret") == AuthResult("ann")
    users.write(f"ann:{OTHER}\n")
    assert users.login("ann", "secret") == AuthResult(None, AuthFailure.WRONG_PASSWORD)
    assert users.login("ann", "other") == AuthResult("ann")
    users.write(f"ann:!{OTHER}\n")
    assert users.login("ann", "other") == AuthResult(None, AuthFailure.DISABLED)
    users.write("")
    assert users.login("ann", "other") == AuthResult(None, AuthFailure.UNKNOWN_USER)
    users.write(f"ann:{SECRET}\nbob:{OTHER}\n")
    assert users.login("ann", "secret") == AuthResult("ann")
    assert users.login("bob", "other") == AuthResult("bob")


def test_a_file_that_vanishes_locks_nobody_out(make: MakeUsers) -> None:
    """Users can log in while the file is away, and the log tells the operator."""
    users = make(f"ann:{SECRET}\n")
    users.file.unlink()
    users.clock.advance(1)
    with capturedLogs() as events:
        assert users.login("ann", "secret") == AuthResult("ann")
    assert any(event.get("reason") == "No such file or directory" for event in events)


@pytest.mark.parametrize(
    ("login", "password", "failure"),
    [
        ("ann", "wrong", AuthFailure.WRONG_PASSWORD),
        ("ann", "", AuthFailure.WRONG_PASSWORD),
        ("ann", "x" * 12_288, AuthFailure.WRONG_PASSWORD),
        ("ann", "secret\0", AuthFailure.WRONG_PASSWORD),
        ("mallory", "secret", AuthFailure.UNKNOWN_USER),
        ("mallory", "", AuthFailure.UNKNOWN_USER),
        ("mallory", "x" * 12_288, AuthFailure.UNKNOWN_USER),
        ("carol", "secret", AuthFailure.DISABLED),
        ("carol", "wrong", AuthFailure.DISABLED),
        ("dave", "secret", AuthFailure.UNUSABLE_HASH),
        ("erin", "secret", AuthFailure.DISABLED),
    ],
)
def test_every_refusal_costs_one_verification(
    make: MakeUsers, login: str, password: str, failure: AuthFailure
) -> None:
    """Whatever a login is refused for, it costs one verification, through the same threads."""
    users = make(f"ann:{SECRET}\ncarol:!{SECRET}\ndave:plain text\nerin:!\n")
    for _ in range(2):
        assert users.cost(login, password) == (failure, [SECRET])


def test_too_long_passwords_are_not_hashed(make: MakeUsers) -> None:
    """A password that no user can have is not given to a hash function."""
    users = make(f"ann:{SECRET}\n")
    users.login("ann", "x" * 1025)
    assert users.checked == [("", SECRET)]


def test_the_empty_password_is_refused_even_if_stored(make: MakeUsers) -> None:
    """A hash of the empty password, which Apache would take, lets nobody in."""
    users = make("ann:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n")
    assert users.cost("ann", "") == (
        AuthFailure.WRONG_PASSWORD,
        ["{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="],
    )


def test_neither_hash_nor_plain_text_is_a_password(make: MakeUsers) -> None:
    """What stands in the file can't be used to log in."""
    users = make(f"ann:{SECRET}\nbob:plain text\n")
    assert users.login("ann", SECRET).login is None
    assert users.login("bob", "plain text").failure is AuthFailure.UNUSABLE_HASH


def test_unknown_users_cost_what_known_ones_cost(make: MakeUsers) -> None:
    """With several kinds of hashes, unknown names are spread over them as known ones are,
    each name always the same; so no cost tells that a user is unknown."""
    lines = [f"sha{n}:{SHA}" for n in range(20)] + [f"bcrypt{n}:{SECRET}" for n in range(10)]
    users = make("\n".join(lines))
    names = [f"unknown{n}" for n in range(150)]
    costs = [users.cost(name, "secret")[1] for name in names]
    assert [users.cost(name, "guess")[1] for name in names] == costs
    quick = sum(stored == [SHA] for stored in costs)
    assert 60 < quick < 140
    assert all(stored in ([SHA], [SECRET]) for stored in costs)


def test_an_unknown_name_with_the_password_of_its_decoy_is_refused(make: MakeUsers) -> None:
    """A password that is some user's is no use with a name that nobody has."""
    users = make(f"ann:{SECRET}\n")
    for _ in range(2):
        assert users.login("mallory", "secret") == AuthResult(None, AuthFailure.UNKNOWN_USER)


def test_a_file_without_users_works(make: MakeUsers) -> None:
    """An empty file, or one without a usable hash, refuses everybody at the same cost."""
    users = make("ann:plain text\n")
    assert len(users.cost("ann", "plain text")[1]) == 1
    assert len(users.cost("bob", "x")[1]) == 1
    users.write("")
    assert len(users.cost("ann", "plain text")[1]) == 1


def test_the_same_login_many_times_is_verified_once(make: MakeUsers) -> None:
    """A client that opens many connections at once costs one verification, right or wrong."""
    users = make(f"ann:{SECRET}\n", waiting=1)
    for login, password in (("ann", "secret"), ("ann", "wrong"), ("bob", "secret")):
        users.checked.clear()
        answers = [users.database.verify_password(login, password) for _ in range(50)]
        good = password == "secret" and login == "ann"
        for answer in answers:
            assert users.clock.wait(answer).login == ("ann" if good else None)
        assert len(users.checked) == 1


def test_too_many_logins_at_once(make: MakeUsers) -> None:
    """Beyond what may wait, known and unknown users alike are told to try again."""
    users = make(f"ann:{SECRET}\n", waiting=1)
    names = ["ann", "bob", "ann", "carl", "ann"]
    answers = [users.database.verify_password(name, str(n)) for n, name in enumerate(names)]
    assert answers[2:] == [AuthResult(None, AuthFailure.UNAVAILABLE)] * 3
    for answer in answers[:2]:
        users.clock.wait(answer)


def test_a_login_given_up_does_not_spoil_the_others(make: MakeUsers) -> None:
    """A connection that is lost while its login is verified takes no other with it."""
    users = make(f"ann:{SECRET}\n")
    first = users.database.verify_password("ann", "secret")
    second = users.database.verify_password("ann", "secret")
    assert isinstance(first, Deferred)
    first.addErrback(lambda failure: None)
    first.cancel()
    assert users.clock.wait(second) == AuthResult("ann")


def test_faulty_lines_are_told_by_number(make: MakeUsers) -> None:
    """Each faulty line is logged with its number, up to a limit; the others count."""
    with capturedLogs() as events:
        users = make(f"ann:{SECRET}\nno colon\nbob:plain text\n" + "faulty\n" * 100)
    warnings = [event for event in events if event["log_level"].name == "warn"]
    assert [event["number"] for event in warnings[:2]] == [2, 3]
    assert len(warnings) == 20
    assert events[-1]["faults"] == 102
    assert users.login("ann", "secret") == AuthResult("ann")


def test_no_secret_reaches_the_log(make: MakeUsers) -> None:
    """No password and no hash, whole or in part, is in any log event."""
    with capturedLogs() as events:
        users = make(f"ann:{SECRET}\nbob:hunter2\ncarol:$2y$04$broken\nerin\xff:{OTHER}\nhunter2\n")
        for login in ("ann", "bob", "carol", "mallory"):
            for password in ("secret", "guess99", "", "x\0guess99"):
                users.login(login, password)
        users.write(f"ann:{OTHER}\nann:{SECRET}\nhunter2:\n")
        users.login("ann", "other")
    text = json.dumps(events, default=repr).replace(str(users.file), "FILE")
    assert "FILE" in text
    for secret in ("secret", "guess99", "hunter2", "other", "broken", SECRET[-20:], OTHER[-20:]):
        assert secret not in text
