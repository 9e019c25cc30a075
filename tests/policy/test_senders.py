"""submitd.policy.senders: who may send as whom."""

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from submitd.interfaces import ISenderPolicy, Site
from submitd.mail.address import Mailbox
from submitd.policy.senders import SenderRules, SendersOptions

FILE = """\
ann@example.org: sales-*@example.org @lists.example.org
bob: bob@example.org bob@example.net
carol, bob: office@example.org
dave: @example.org
*: noreply@example.org
"""

Make = Callable[..., SenderRules]


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the rules stand."""
    return tmp_path / "senders"


@pytest.fixture
def rules(clock: Clock, file: Path) -> SenderRules:
    """The rules of `FILE`."""
    file.write_text(FILE)
    return SenderRules(SendersOptions(file=file), Site("mail.example.org", clock))


def may(rules: SenderRules, login: str, address: str) -> bool:
    """Whether a login may send as an address; what `explain` says must agree."""
    mailbox = Mailbox.parse(address)
    answer = rules.may_send_as(login, mailbox)
    assert ("may not send" in rules.explain(login, mailbox)) != answer
    return answer


def test_interface(rules: SenderRules) -> None:
    """The rules are a sender policy."""
    assert verifyObject(ISenderPolicy, rules)


@pytest.mark.parametrize(
    ("login", "address", "allowed"),
    [
        ("ann@example.org", "ann@example.org", True),
        ("ann@example.org", "ANN@Example.ORG", True),
        ("Ann@Example.org", '"ann"@example.org', True),
        ("ann@example.org", "sales-de@example.org", True),
        ("ann@example.org", "x@lists.example.org", True),
        ("ann@example.org", "noreply@example.org", True),
        ("ann@example.org", "bob@example.org", False),
        ("ann@example.org", "ann@example.net", False),
        ("bob", "bob@example.net", True),
        ("BOB", "bob@example.net", True),
        ("bob", "office@example.org", True),
        ("carol", "office@example.org", True),
        ("carol", "carol@example.org", False),
        ("dave", "anybody@example.org", True),
        ("dave", "anybody@mail.example.org", False),
        ("mallory", "noreply@example.org", True),
        ("mallory", "mallory@example.org", False),
        ("mallory@example.net", "mallory@example.net", True),
        ("jörg@xn--bcher-kva.example", "Jörg@bücher.example", True),
        ("jörg@bücher.example", "jörg@XN--bcher-kva.example", True),
        ("jörg@bücher.example", "jörg@bucher.example", False),
        ("", "ann@example.org", False),
    ],
)
def test_who_may_send_as_whom(rules: SenderRules, login: str, address: str, allowed: bool) -> None:
    """An address may send as itself; else a rule for the login, or for everybody, decides."""
    assert may(rules, login, address) == allowed


def test_without_a_file(clock: Clock) -> None:
    """Without a file, an address may send as itself, and nobody as anyone else."""
    rules = SenderRules(SendersOptions(), Site("mail.example.org", clock))
    assert may(rules, "ann@example.org", "Ann@example.org")
    assert not may(rules, "ann@example.org", "bob@example.org")
    assert not may(rules, "ann", "ann@example.org")
    assert rules.primary_mailbox("ann") is None


def test_explain_names_the_line(rules: SenderRules, file: Path) -> None:
    """The operator is told which line of which file decided."""

    def explain(login: str, address: str) -> str:
        return rules.explain(login, Mailbox.parse(address))

    assert "its own address" in explain("ann@example.org", "ann@example.org")
    assert f"{file}, line 1, `ann@example.org: sales-*@example.org`" in explain(
        "ann@example.org", "sales-de@example.org"
    )
    assert f"{file}, line 3, `bob: office@example.org`" in explain("bob", "office@example.org")
    assert f"{file}, line 5, `*: noreply@example.org`" in explain("x", "noreply@example.org")
    assert "no rule says so" in explain("x", "ann@example.org")


@pytest.mark.parametrize(
    ("login", "address"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann@Example.org", "Ann@Example.org"),
        ("bob", "bob@example.org"),
        ("BOB", "bob@example.org"),
        ("carol", "office@example.org"),
        ("dave", None),
        ("mallory", None),
    ],
)
def test_primary_mailbox(rules: SenderRules, login: str, address: str | None) -> None:
    """A login stands for its own address, else for the first exact one of its own rules."""
    mailbox = rules.primary_mailbox(login)
    assert (None if mailbox is None else str(mailbox)) == address


def test_a_change_counts_within_a_second(rules: SenderRules, clock: Clock, file: Path) -> None:
    """Rules are read again when the file has changed."""
    file.write_text("carol: carol@example.org\n")
    clock.advance(1)
    assert may(rules, "carol", "carol@example.org")
    assert not may(rules, "bob", "bob@example.org")


def test_faulty_lines_are_told_by_number(clock: Clock, file: Path) -> None:
    """Faulty lines are logged with number and reason, up to a limit; the others count."""
    file.write_text(FILE + "eve eve@example.org\n" * 30)
    with capturedLogs() as events:
        rules = SenderRules(SendersOptions(file=file), Site("mail.example.org", clock))
    warnings = [event for event in events if event["log_level"].name == "warn"]
    assert [event["number"] for event in warnings] == list(range(6, 26))
    assert {event["reason"] for event in warnings} == {"no colon after the login"}
    assert may(rules, "bob", "bob@example.org")
    assert not may(rules, "eve", "eve@example.org")


def test_a_missing_file_is_told_to_the_operator(clock: Clock, file: Path) -> None:
    """A file that is named but not there is an error at the start."""
    with pytest.raises(ValueError, match=f"senders: cannot read {file}: No such file"):
        SenderRules(SendersOptions(file=file), Site("mail.example.org", clock))


def test_a_mismatch_is_rejected_by_default() -> None:
    """What happens with a `From:` that no rule covers is to reject it, unless configured."""
    assert SendersOptions().from_mismatch == "reject"
