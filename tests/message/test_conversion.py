"""Conversion of content for next hops without 8BITMIME or BINARYMIME."""

import binascii
import random
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from submitd.message.conversion import Converter, Inspector, Unconvertible
from submitd.message.encodings import Base64, QuotedPrintable

UMLAUTS = "Grüße aus München\r\nund auch aus Nürnberg\r\n".encode()
PLAIN_8BIT = (
    b"From: ann@example.org\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\n" + UMLAUTS
)


def pieces(data: bytes, split: str) -> Iterator[bytes]:
    """*data* whole, by the octet, or in random pieces."""
    chance = random.Random(7)
    while data:
        octets = {"whole": len(data), "octets": 1, "random": chance.randint(1, 40)}[split]
        yield data[:octets]
        data = data[octets:]


def convert(
    message: bytes,
    body: Any = "8BITMIME",
    target: Any = "7BIT",
    split: str = "whole",
    ascii_header: bool = False,
) -> bytes:
    """The message as it would go to a next hop that takes *target* only."""
    inspector = Inspector(body, target, ascii_header=ascii_header)
    for piece in pieces(message, split):
        inspector.feed(piece)
    converter = Converter(inspector.end())
    converted = b"".join(converter.feed(piece) for piece in pieces(message, split))
    return converted + converter.end()


def leaves(message: Message) -> list[tuple[str, bytes]]:
    """Type and decoded content of each part, as Python reads them."""
    return [
        (part.get_content_type(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message.walk()
        if not part.is_multipart()
    ]


def check(message: bytes, body: Any = "8BITMIME", target: Any = "7BIT") -> bytes:
    """Convert in three ways, with one result, in which Python finds the same parts."""
    converted = convert(message, body, target)
    assert convert(message, body, target, "octets") == converted
    assert convert(message, body, target, "random") == converted
    assert leaves(message_from_bytes(converted)) == leaves(message_from_bytes(message))
    if target == "7BIT":
        assert converted.isascii()
    assert b"\0" not in converted
    lines = converted.split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    return converted


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b1") -> bytes:
    """A part of several parts, header and all."""
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (kind, boundary)
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return head + body + b"--%b--\r\n" % boundary


def part(content: bytes, kind: bytes = b"text/plain; charset=utf-8", cte: bytes = b"8bit") -> bytes:
    """A part, header and all."""
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, cte, content)


def message(of: bytes) -> bytes:
    """A message with a part as its content."""
    return b"From: ann@example.org\r\nMIME-Version: 1.0\r\n" + of


# ---- what is converted ------------------------------------------------------------------


def test_text_becomes_quoted_printable() -> None:
    """Text is encoded, its label changed, and every other octet stays."""
    assert check(PLAIN_8BIT) == PLAIN_8BIT.replace(b"8bit", b"quoted-printable").replace(
        UMLAUTS, b"Gr=C3=BC=C3=9Fe aus M=C3=BCnchen\r\nund auch aus N=C3=BCrnberg\r\n"
    )


def test_text_without_mime_fields_gets_them() -> None:
    """Text in no known charset is labelled as that, and can be read by old and new readers."""
    converted = check(b"From: ann@example.org\r\n\r\n" + UMLAUTS)
    assert converted.startswith(
        b"From: ann@example.org\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3"
    )


def test_text_that_is_mostly_beyond_ascii_becomes_base64() -> None:
    """Text that nobody could read in quoted-printable becomes base64, which is shorter."""
    converted = check(message(part("Привет, как дела?\r\n".encode() * 20)))
    assert b"Content-Transfer-Encoding: base64" in converted


def test_other_types_become_base64() -> None:
    """What is not text is never put into lines of text."""
    assert b": base64\r\n" in check(message(part(b"\xff" + b"x" * 99, b"image/png")))


def test_parts_that_fit_stay_to_the_octet() -> None:
    """Only the parts that don't fit are touched; labels say what is there."""
    seven, encoded = part(b"seven", cte=b"7bit"), part(b"Zm9v", b"image/png", b"base64")
    eight = part(b"only labelled so")
    converted = check(message(multipart(seven, part(UMLAUTS), encoded, eight)))
    assert seven in converted
    assert encoded in converted
    assert eight.replace(b"8bit", b"7bit") in converted


def test_nested_multiparts() -> None:
    """Parts within parts are found, and labels on the way down changed."""
    inner = multipart(part(UMLAUTS), part(b"<p>\xfc", b"text/html"), boundary=b"inner")
    labelled = b"Content-Transfer-Encoding: 8bit\r\n"
    converted = check(message(labelled + multipart(labelled + inner, part(b"\xff", b"a/b"))))
    assert b"8bit" not in converted


def test_attached_message() -> None:
    """An attached message may not be encoded itself: its parts are."""
    attached = part(PLAIN_8BIT, b"message/rfc822")
    converted = check(message(multipart(attached, part(b"x"))))
    assert b"message/rfc822\r\nContent-Transfer-Encoding: 7bit" in converted
    digest = multipart(b"\r\n" + PLAIN_8BIT, kind=b"digest")
    assert b"=C3=BC" in check(message(digest))


def test_attached_internationalised_message() -> None:
    """message/global, unlike message/rfc822, is encoded as a whole (RFC 6532 §3.5)."""
    attached = part("Subject: Grüße\r\n\r\nü\r\n".encode(), b"message/global")
    converted = convert(message(multipart(attached)))
    assert b"Content-Transfer-Encoding: base64" in converted
    assert converted.isascii()


@pytest.mark.parametrize("target", ["7BIT", "8BITMIME"])
@pytest.mark.parametrize("content", [b"a\0b", b"bare\nLF", b"bare\rCR", b"x" * 1200, b"\r\n\r"])
def test_binary(content: bytes, target: str) -> None:
    """NUL, bare line ends and long lines are encoded where BINARYMIME isn't taken."""
    for kind in (b"text/plain", b"application/octet-stream"):
        check(message(part(content, kind, b"binary")), "BINARYMIME", target)
        check(message(multipart(part(content, kind, b"binary"))), "BINARYMIME", target)


def test_binary_label_alone() -> None:
    """What is called binary and isn't becomes 8bit where that is taken."""
    converted = check(message(part(UMLAUTS, cte=b"binary")), "BINARYMIME", "8BITMIME")
    assert converted == message(part(UMLAUTS))


def test_signed_parts_that_fit() -> None:
    """What is signed stays to the octet, its labels too, beside parts that are converted."""
    signed = multipart(part(b"I owe you"), part(b"MII", cte=b"base64"), kind=b"signed")
    whole = multipart(signed, part(UMLAUTS), boundary=b"outer")
    assert signed in check(message(whole))


def test_encrypted_container() -> None:
    """An S/MIME object in binary is what base64 is for: the object itself stays as it is."""
    cms = part(bytes(range(256)), b"application/pkcs7-mime; smime-type=signed-data", b"binary")
    check(message(cms), "BINARYMIME", "7BIT")
    check(message(cms), "BINARYMIME", "8BITMIME")


def test_boundary_as_the_grammar_allows() -> None:
    """Boundaries are read with quoting, comments, folding and white space behind delimiters."""
    text = (
        b'Content-Type: multipart/mixed (really);\r\n\tcharset="x; boundary=no";\r\n'
        b' BOUNDARY="a \\"b\\"" \r\n\r\npreamble\r\n--a "b" \t\r\n' + part(UMLAUTS) + b"\r\n"
        b'--a "b"--  \r\nepilogue'
    )
    converted = convert(message(text))
    assert converted.isascii()
    assert b"=C3=BC" in converted


def test_multipart_without_an_end() -> None:
    """A message that was cut off is converted as far as it goes."""
    converted = convert(message(multipart(part(UMLAUTS)).removesuffix(b"\r\n--b1--\r\n")))
    assert converted.endswith(b"N=C3=BCrnberg\r\n")


# ---- what is not ------------------------------------------------------------------------

ENCODED_8BIT = part(b"\xfc", cte=b"quoted-printable")
UNCONVERTIBLE = {
    "signed": multipart(part(UMLAUTS), part(b"MII"), kind=b"signed"),
    "encrypted": multipart(part(UMLAUTS), part(b"MII"), kind=b"encrypted"),
    "within signed": multipart(multipart(part(UMLAUTS), boundary=b"b2"), kind=b"signed"),
    "message within signed": multipart(part(PLAIN_8BIT, b"message/rfc822"), kind=b"signed"),
    "message/partial": part(b"\xfc", b"message/partial"),
    "encoded twice": ENCODED_8BIT,
    "unknown encoding": part(b"\xfc", cte=b"x-uue"),
    "preamble": multipart(part(b"x")).replace(b"\r\n\r\n", b"\r\n\r\nGr\xfc\xdfe\r\n", 1),
    "epilogue": multipart(part(b"x")) + b"\xfc",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n\xfc",
    "two boundaries": b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n\xfc",
    "two types": b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\xfc",
    "boundary with more": multipart(part(b"x\r\n--b1x\r\n\xfc")),
    "boundary behind LF": multipart(part(b"x\n--b1\r\n\xfc")),
    "boundary before LF": multipart(part(b"x\r\n--b1\n\r\n\xfc")),
    "boundary before CR": multipart(part(b"x\r\n--b1\r\r\n\r\n\xfc")),
    "last boundary before LF": multipart(part(b"\xfc\r\n--b1--\n.\r\nMAIL FROM:<x@y.example>")),
    "no end of header": multipart(b"Content-Type: text/plain\r\n--b1\r\n\r\n\xfc"),
    "control in header": multipart(b"X: \x01\r\n\r\n\xfc"),
    "mbox line": multipart(b"From ann\r\n\r\n\xfc"),
}


@pytest.mark.parametrize("name", UNCONVERTIBLE)
@pytest.mark.parametrize("split", ["whole", "octets"])
def test_unconvertible(name: str, split: str) -> None:
    """What is signed, or what readers would understand in two ways, is refused with 5.6.3."""
    with pytest.raises(Unconvertible) as caught:
        convert(message(UNCONVERTIBLE[name]), split=split)
    assert caught.value.status == "5.6.3"


@pytest.mark.parametrize(
    "text",
    [
        b"Subject: Gr\xfc\xdfe\r\n\r\nx",
        b"Subject: Gr\xfc\xdfe",
        multipart(b"Content-Type: image/png; name=\xfc\r\n\r\nx"),
        multipart(part(b"Subject: \xfc\r\n\r\nx", b"message/rfc822")),
    ],
)
def test_headers_are_never_converted(text: bytes) -> None:
    """A header beyond ASCII, wherever it is, is refused with 5.6.9 where 8BITMIME lacks."""
    with pytest.raises(Unconvertible) as caught:
        convert(message(text))
    assert caught.value.status == "5.6.9"


def test_only_the_header_is_of_interest() -> None:
    """Where the content fits as it is, only the message's own header is looked at."""
    inspector = Inspector("8BITMIME", "8BITMIME", ascii_header=True)
    inspector.feed(message(UNCONVERTIBLE["signed"]))
    assert inspector.is_done
    assert inspector.end() == ()
    with pytest.raises(Unconvertible):
        convert("Subject: Grüße\r\n\r\n".encode(), target="8BITMIME", ascii_header=True)


def test_bounds() -> None:
    """Parts, their depth and their headers are bounded."""
    deep = part(b"x")
    for number in range(101):
        deep = multipart(deep, boundary=b"b-%d-" % number)
    for text in (
        multipart(*[b"\r\n"] * 10_001),
        deep,
        multipart(b"X: " + b"x" * 1_100_000),
    ):
        with pytest.raises(Unconvertible):
            convert(message(text))


def test_linear_time() -> None:
    """Content made to be hard takes no longer for its size than other content."""
    for text in (b"\r\n--" * 200_000, b"--" * 400_000, b"\r\n" * 400_000, b" \t=" * 300_000):
        began_s = time.process_time()
        convert(message(multipart(part(b"\xfc" + text))))
        assert time.process_time() - began_s < 4


# ---- any message ------------------------------------------------------------------------

_bodies = st.lists(
    st.sampled_from(
        [
            b"a",
            b" ",
            b"\t",
            b"=",
            b".",
            b"\r\n",
            b"\xc3\xbc",
            b"--",
            b"--b1 ",
            b"x" * 70,
            b"\r\n--b1--\n",
            b"\r\n--b1\r",
        ]
    )
    | st.binary(max_size=5),
    max_size=30,
).map(b"".join)


@given(st.lists(_bodies, min_size=1, max_size=3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_parts(bodies: list[bytes], binary: bool) -> None:
    """Whatever the parts hold, either Python reads the same from the result, or it is refused.

    No bare CR or LF is left of binary content.
    """
    text = message(multipart(*(part(body, cte=b"binary") for body in bodies)))
    try:
        converted = convert(text, "BINARYMIME" if binary else "8BITMIME", "7BIT", "random")
    except Unconvertible:
        return
    assert converted.isascii()
    if binary:
        assert len(converted.split(b"\r\n")) - 1 == converted.count(b"\r") == converted.count(b"\n")
    if b"\r" not in text.replace(b"\r\n", b"") and b"\n" not in text.replace(b"\r\n", b""):
        assert leaves(message_from_bytes(converted)) == leaves(message_from_bytes(text))


@given(st.binary(max_size=400) | _bodies)
@example(b"x" * 149 + b" ")  # the white space at the end makes the line too long
@settings(deadline=None)
def test_encodings_are_reversible(data: bytes) -> None:
    """What is encoded in whatever pieces decodes to the same octets, in lines of 76 at most."""
    for encoder, decode in (
        (QuotedPrintable(), binascii.a2b_qp),
        (Base64(), binascii.a2b_base64),
    ):
        encoded = b"".join(encoder.feed(piece) for piece in pieces(data, "random")) + encoder.end()
        assert decode(encoded) == data
        assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
        assert b"\n" not in encoded.replace(b"\r\n", b"")
