"""What clients send through both ports comes out at the next hop, byte for byte."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import CLIENTS, Client, Port, Refused
from tests.support.samples import BIG, HARD_CASES, crlf, python_samples

# What RFC 6409 §8 lets us add, and RFC 5321 §4.4 makes us add: on top, in this order.
ADDITIONS = re.compile(
    rb"Received: from [^\r\n]+\r\n(?:[ \t][^\r\n]+\r\n)*"
    rb"(?:Sender: [^\r\n]+\r\n)?(?:Date: [^\r\n]+\r\n)?(?:Message-ID: <[^\r\n]+>\r\n)?"
)

REFUSED = {
    *("msg_11.txt", "msg_18.txt", "msg_19.txt", "msg_37.txt", "msg_38.txt", "msg_39.txt"),
    *("msg_40.txt", "msg_05.txt", "msg_43.txt"),
}
"""Samples without From, and the last two with one that is no list of mailboxes."""

MENDED = {
    "msg_25.txt": (re.compile(rb"\AFrom .*\r\n"), b""),
    "msg_35.txt": (re.compile(rb"^(?=counter to)", re.MULTILINE), b"\r\n"),
}
"""What is mended in samples: the line of an mbox file removed, the end of the header marked."""

clients = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())
ports = pytest.mark.parametrize("port", ["implicit", "starttls"])


def assert_same(sent: bytes, received: bytes) -> None:
    """What came out is what went in, with nothing but our additions on top."""
    if not sent.endswith(b"\r\n"):
        sent += b"\r\n"
    if b"\r\n\r\n" not in sent:
        sent += b"\r\n"  # the empty line that ends a header
    assert received.endswith(sent), first_difference(sent, received)
    added = received[: len(received) - len(sent)]
    assert ADDITIONS.fullmatch(added), added


def first_difference(sent: bytes, received: bytes) -> str:
    """Where two messages differ, counted from their ends, without printing all of them."""
    common = 0
    for one, other in zip(reversed(sent), reversed(received), strict=False):
        if one != other:
            break
        common += 1
    return (
        f"the last {common} octets agree, before them {sent[: -common or None][-60:]!r} became "
        f"{received[: -common or None][-60:]!r}"
    )


# swaks takes a dot alone on the last line of its file for the end of data, and adds an
# empty line to a message that has no body.
hard_cases = pytest.mark.parametrize(
    ("client", "case"),
    [
        pytest.param(client, case, id=f"{name}-{case}")
        for name, client in CLIENTS.items()
        for case in HARD_CASES
        if name != "swaks" or case not in {"dot-at-the-end", "empty-body", "header-only"}
    ],
)


@hard_cases
@ports
def test_hard_cases_come_out_as_they_went_in(
    way: Any, client: Client, port: Port, case: str, tmp_path: Path
) -> None:
    """8-bit text, longest lines, dots, missing newlines and empty bodies survive every client."""
    recipient = way.recipient()
    client(way.server, port, recipient, HARD_CASES[case], tmp_path)
    assert_same(HARD_CASES[case], way.received(recipient).content)


@clients
@ports
def test_20_mib_come_out_as_they_went_in(
    way: Any, client: Client, port: Port, tmp_path: Path
) -> None:
    """A message of 20 MiB survives every client and both ports."""
    recipient = way.recipient()
    client(way.server, port, recipient, BIG, tmp_path)
    assert_same(BIG, way.received(recipient).content)


samples = pytest.mark.parametrize(
    ("client", "sample"),
    [
        pytest.param(client, sample, id=f"{name}-{sample.name}")
        for name, client in CLIENTS.items()
        for sample in python_samples()
        if (name, sample.name) != ("swaks", "msg_35.txt")  # no body: see above
    ],
)


def test_samples_are_here() -> None:
    """CPython's sample mails are installed, so that the next test has something to send."""
    if not python_samples():
        pytest.skip("no test.test_email (Debian: libpython3-testsuite)")


@samples
def test_sample_mails_come_out_as_they_went_in(
    way: Any, client: Client, sample: Path, tmp_path: Path
) -> None:
    """The mails that CPython tests its email package with survive, or are refused as malformed."""
    sent = crlf(sample.read_bytes())
    recipient = way.recipient()
    port: Port = "implicit" if len(sample.name) + len(client.__name__) & 1 else "starttls"
    if sample.name in REFUSED:
        with pytest.raises(Refused, match=r"554 5\.6\.0"):
            client(way.server, port, recipient, sent, tmp_path)
    else:
        client(way.server, port, recipient, sent, tmp_path)
        if sample.name in MENDED:
            broken, mended = MENDED[sample.name]
            sent = broken.sub(mended, sent)
        assert_same(sent, way.received(recipient).content)
