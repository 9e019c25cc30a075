"""The arguments of MAIL and RCPT, at the bounds that their RFCs give."""

import pytest

from submitd.mail.address import Mailbox
from submitd.smtp import replies
from submitd.smtp.commands import COMMANDS
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.grammar import parse_mail, parse_rcpt
from submitd.smtp.replies import Reply


def mail(parameter: str) -> Reply | None:
    """The refusal of MAIL with a parameter, or None."""
    try:
        parse_mail(f"FROM:<ann@example.org> {parameter}")
    except RemoteProtocolError as error:
        return error.reply
    return None


def rcpt(parameter: str, *, utf8: bool = False) -> Reply | None:
    """The refusal of RCPT with a parameter, or None."""
    try:
        parse_rcpt(f"TO:<bob@example.net> {parameter}", "mail.example.org", utf8=utf8)
    except RemoteProtocolError as error:
        return error.reply
    return None


def path_of(octets: int) -> str:
    """A path of that many octets, with its brackets, in a domain of short labels."""
    labels = ".".join(["d" * 59] * 4)  # with each dot 60 octets
    return f"<{'a' * (octets - len(labels) - 3)}@{labels}>"


def test_the_longest_path() -> None:
    """A path of 256 octets with its brackets is read, one more is refused (RFC 5321 §4.5.3.1.3)."""
    assert len(path_of(256)) == 256
    assert parse_mail(f"FROM:{path_of(256)}").reverse_path is not None
    with pytest.raises(RemoteProtocolError) as caught:
        parse_mail(f"FROM:{path_of(257)}")
    assert caught.value.reply is replies.BAD_REVERSE_PATH


@pytest.mark.parametrize(
    "path", ["<@a.example:bob@example.net>", "<@a.example,@b.example:bob@example.net>"]
)
def test_source_routes_are_stripped(path: str) -> None:
    """Of a source route the last mailbox alone is kept (RFC 5321 §4.1.1.3)."""
    assert parse_rcpt(f"TO:{path}", "h.example", utf8=False).mailbox == Mailbox(
        "bob", "example.net"
    )


def test_postmaster_is_ours() -> None:
    """<Postmaster> in any case is the postmaster at our own name (RFC 5321 §4.5.1)."""
    for name in ("postmaster", "Postmaster", "POSTMASTER"):
        found = parse_rcpt(f"TO:<{name}>", "mail.example.org", utf8=False).mailbox
        assert found == Mailbox(name, "mail.example.org")


@pytest.mark.parametrize(
    "parameter",
    [
        "SIZE=99999999999999999999",
        f"ENVID={'e' * 100}",
        "ENVID=a+2Bb",
        "RET=full",
        "HOLDFOR=999999999",
        "HOLDUNTIL=2030-12-31T23:59:60Z",
        "BY=+999999999;R",
        "BY=-999999999;N",
        "BY=0;N",
        "MT-PRIORITY=0",
        "MT-PRIORITY=9",
        "mt-priority=-9",
        "Body=8bitMime",
    ],
)
def test_mail_values_at_their_bounds(parameter: str) -> None:
    """The largest values that an RFC gives are good, and keywords are so in any case."""
    assert mail(parameter) is None


@pytest.mark.parametrize(
    "parameter",
    [
        "SIZE=100000000000000000000",
        "SIZE=-1",
        f"ENVID={'e' * 101}",
        "ENVID",
        "ENVID=a+0D+0A",
        "ENVID=a+E9",
        "ENVID=a+2b",
        "RET",
        "HOLDFOR=1000000000",
        "HOLDFOR=-1",
        "HOLDUNTIL=2030-12-31",
        "HOLDUNTIL=2030-12-31T24:00:00Z",
        "HOLDUNTIL=2030-12-31T00:00:00",
        "BY=1000000000;N",
        "BY=60;X",
        "BY=60;RTT",
        "MT-PRIORITY=-10",
        "MT-PRIORITY=-0",
        "MT-PRIORITY",
        "SMTPUTF8=",
        "REQUIRETLS=",
    ],
)
def test_mail_values_beyond_their_bounds(parameter: str) -> None:
    """What an RFC's grammar does not have is 501, and no more is read of it."""
    assert mail(parameter) is replies.BAD_PARAMETER


@pytest.mark.parametrize(
    "parameters",
    [
        "SIZE=1 SIZE=1",
        "RET=FULL ret=FULL",
        "ENVID=a ENVID=b",
        "BODY=7BIT BODY=7BIT",
        "BY=1;R BY=1;R",
        "MT-PRIORITY=1 MT-PRIORITY=1",
        "HOLDFOR=1 HOLDFOR=1",
        "HOLDUNTIL=2030-12-31T00:00:00Z HOLDFOR=1",
        "SMTPUTF8 SMTPUTF8",
    ],
)
def test_no_parameter_of_mail_twice(parameters: str) -> None:
    """A parameter that is given twice is 501, whatever its values."""
    assert mail(parameters) is replies.REPEATED_PARAMETER


@pytest.mark.parametrize("parameters", ["NOTIFY=NEVER NOTIFY=NEVER", "ORCPT=a;b ORCPT=a;b"])
def test_no_parameter_of_rcpt_twice(parameters: str) -> None:
    """NOTIFY and ORCPT stand once in a RCPT command (RFC 3461 §4.5)."""
    assert rcpt(parameters) is replies.REPEATED_PARAMETER


def test_orcpt() -> None:
    """ORCPT has at most 500 octets, and encodes no control character (RFC 3461 §4.2)."""
    assert rcpt(f"ORCPT=rfc822;{'a' * 493}") is None
    assert rcpt(f"ORCPT=rfc822;{'a' * 494}") is replies.BAD_PARAMETER
    assert rcpt("ORCPT=rfc822;a+20b@example.net") is None
    # Postfix writes UTF-8 so, which the RFC does not have.
    assert rcpt("ORCPT=rfc822;a+C3+A9@example.net") is None
    for bad in ("rfc822;a+0Db", "rfc822;a+7Fb", "rfc822;a+00", "rfc822;", "rfc822", "a=b;c"):
        assert rcpt(f"ORCPT={bad}") is replies.BAD_PARAMETER


def test_parameters_of_the_other_command() -> None:
    """A parameter of MAIL is unknown to RCPT, and the other way round (RFC 5321 §4.1.1.11)."""
    assert mail("NOTIFY=NEVER") is replies.UNKNOWN_PARAMETER
    assert rcpt("RET=FULL") is replies.UNKNOWN_PARAMETER


def test_commands_have_room_for_all_parameters() -> None:
    """A command may have all parameters that its extensions add (RFC 3461 §5.4)."""
    mail = ("SIZE", 26), ("BODY", 17), ("AUTH", 500), ("RET", 9), ("ENVID", 107), ("BY", 17)
    more = ("SMTPUTF8", 10), ("REQUIRETLS", 11), ("MT-PRIORITY", 15), ("HOLDUNTIL", 34)
    assert sum(octets for _keyword, octets in (*mail, *more)) + 512 <= COMMANDS[b"MAIL"].octets
    assert COMMANDS[b"RCPT"].octets >= 1036
