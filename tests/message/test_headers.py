"""The header block: where it ends, and how it splits."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.message.headers import (
    HeaderBlock,
    HeaderLeniency,
    HeaderTooBig,
    MalformedHeader,
    find_end,
)

SIMPLE = b"From: alice@example.org\r\nSubject: a\r\n\tb\r\n\r\n"


def test_find_end_of_whole_message() -> None:
    """The end is just behind the first empty line."""
    assert find_end(SIMPLE + b"body\r\n\r\nmore\r\n") == len(SIMPLE)


def test_find_end_of_message_without_header() -> None:
    """A message that begins with its empty line has an empty header."""
    assert find_end(b"\r\nbody\r\n\r\n") == 2


@settings(deadline=None)
@given(st.lists(st.integers(1, 9)))
def test_find_end_in_pieces(sizes: list[int]) -> None:
    """However the message is cut, the end is found with the piece that completes it."""
    message = SIMPLE + b"body\r\n"
    buffer = bytearray()
    found = searched = 0
    for size in [*sizes, *[7] * len(message)]:
        buffer += message[len(buffer) : len(buffer) + size]
        found = find_end(buffer, searched)
        searched = len(buffer)
        if found >= 0 or searched == len(message):
            break
    assert found == len(SIMPLE)
    assert find_end(SIMPLE[:-1]) == -1


ODD_BLOCKS = [
    ("whole fields", SIMPLE, [b"From", b"Subject"], b"\r\n"),
    ("no empty line", SIMPLE[:-2], [b"From", b"Subject"], b"\r\n"),
    ("no line end at the end", b"From: a@b.c\r\nTo: d", [b"From", b"To"], b"\r\n"),
    ("empty header", b"\r\n", [], b"\r\n"),
    ("nothing at all", b"", [], b"\r\n"),
    ("mbox line first", b"From a@b.c Sat Jan 3\r\nTo: d@e.f\r\n\r\n", [b"To"], b"\r\n"),
    ("From with a space is no mbox line", b"From : a@b.c\r\n\r\n", [b"From"], b"\r\n"),
    (
        "mbox line later",
        b"To: d@e.f\r\nFrom a@b.c Sat\r\nCc: x@y.z\r\n\r\n",
        [b"To"],
        b"\r\nFrom a@b.c Sat\r\nCc: x@y.z\r\n\r\n",
    ),
    (
        "malformed line",
        b"To: d@e.f\r\nno colon here\r\nSubject: x\r\n\r\n",
        [b"To"],
        b"\r\nno colon here\r\nSubject: x\r\n\r\n",
    ),
    ("malformed line last", b"To: d@e.f\r\nno colon\r\n", [b"To"], b"\r\nno colon\r\n"),
    ("continuation first", b" To: d@e.f\r\n\r\n", [], b"\r\n To: d@e.f\r\n\r\n"),
    ("no name", b"To: d@e.f\r\n: x\r\n\r\n", [b"To"], b"\r\n: x\r\n\r\n"),
    ("8-bit name", b"To: d@e.f\r\nFr\xc3\xb6m: x\r\n\r\n", [b"To"], b"\r\nFr\xc3\xb6m: x\r\n\r\n"),
    ("space before the colon", b"Subject \t: x\r\n\r\n", [b"Subject"], b"\r\n"),
    ("line of white space", b"Subject: x\r\n \t\r\nTo: y\r\n\r\n", [b"Subject", b"To"], b"\r\n"),
    ("odd case", b"fROM: x\r\n\r\n", [b"fROM"], b"\r\n"),
    ("odd name", b"X-!\"#$%&'()*/: x\r\n\r\n", [b"X-!\"#$%&'()*/"], b"\r\n"),
    ("8-bit value", b"Subject: \xfc\xff\x80\r\n\r\n", [b"Subject"], b"\r\n"),
    ("empty value", b"Subject:\r\n\r\n", [b"Subject"], b"\r\n"),
]


@pytest.mark.parametrize(
    ("block", "expected", "end"), [o[1:] for o in ODD_BLOCKS], ids=[o[0] for o in ODD_BLOCKS]
)
def test_odd_blocks(block: bytes, expected: list[bytes], end: bytes) -> None:
    """Each odd block splits as docs/completion.md says."""
    header = HeaderBlock.parse(block)
    assert [name for _raw, name in header.fields] == expected
    assert header.end == end


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
def test_control_characters(octet: int) -> None:
    """No control character but the tab gets through, CR and LF on their own included."""
    with pytest.raises(MalformedHeader):
        HeaderBlock.parse(b"Subject: a%bb\r\n\r\n" % bytes([octet]))


@pytest.mark.parametrize("line", [b"a\n\rb", b"a\r\r\nb", b"a\r\n\nb", b"a\rb\nc"])
def test_line_ends(line: bytes) -> None:
    """CR and LF count as a line end only together."""
    with pytest.raises(MalformedHeader):
        HeaderBlock.parse(b"Subject: %b: c\r\n\r\n" % line)


LENIENT = [
    (SIMPLE, []),
    (SIMPLE[:-2], [HeaderLeniency.NO_EMPTY_LINE]),
    (SIMPLE[:-4], [HeaderLeniency.NO_EMPTY_LINE]),
    (b"From a Sat\r\n" + SIMPLE, [HeaderLeniency.MBOX_LINE]),
    (SIMPLE[:-2] + b"text\r\n\r\n", [HeaderLeniency.MALFORMED_LINE]),
    (
        b"From a Sat\r\n" + SIMPLE[:-2] + b"text",
        [HeaderLeniency.MBOX_LINE, HeaderLeniency.MALFORMED_LINE],
    ),
]


@pytest.mark.parametrize(("block", "expected"), LENIENT)
def test_leniencies(block: bytes, expected: list[HeaderLeniency]) -> None:
    """What a block needed to be taken is told."""
    assert list(HeaderBlock.parse(block).leniencies) == expected


FIELDS = st.lists(
    st.sampled_from([b"A: b\r\n", b"A:\r\n", b"A:\r\n b\r\n", b"A: b\r\n\t\r\n \r\n"])
)


@settings(deadline=None)
@given(FIELDS, st.sampled_from([b"", b"From a Sat\r\n"]), st.sampled_from([b"\r\n", b"x\r\n", b""]))
def test_number_of_fields(fields: list[bytes], before: bytes, after: bytes) -> None:
    """As many fields as allowed are taken, however they are folded, and not one more."""
    block = before + b"".join(fields) + after
    assert len(HeaderBlock.parse(block, max_fields=len(fields)).fields) == len(fields)
    if fields:
        with pytest.raises(HeaderTooBig):
            HeaderBlock.parse(block, max_fields=len(fields) - 1)


@settings(deadline=None)
@given(FIELDS)
def test_length_of_fields(fields: list[bytes]) -> None:
    """The length of a field is that of all its lines, with their ends."""
    block = b"".join(fields) + b"\r\n"
    longest = max(map(len, fields), default=0)
    assert len(HeaderBlock.parse(block, max_field_octets=longest).fields) == len(fields)
    if fields:
        with pytest.raises(HeaderTooBig):
            HeaderBlock.parse(block, max_field_octets=longest - 1)


@pytest.mark.parametrize(
    "field", [b"Bcc: c@d.e", b"Bcc\r\n : c@d.e", b"BCC : c@d.e", b"resent-bcc: c@d.e"]
)
def test_bcc_behind_a_malformed_line(field: bytes) -> None:
    """A Bcc that would become body text, for all to read, is refused."""
    with pytest.raises(MalformedHeader):
        HeaderBlock.parse(b"From: a@b.c\r\nno colon here\r\n%b\r\n\r\n" % field)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"A", b":", b" ", b"\t", b"\r\n", b"\xff"])))
def test_nothing_is_lost(tokens: list[bytes]) -> None:
    """The fields and the end are the block, with at most an empty line put between them."""
    block = b"".join(tokens)
    header = HeaderBlock.parse(block)
    joined = b"".join(raw for raw, _name in header.fields)
    whole = block if block.endswith(b"\r\n") else block + b"\r\n"
    assert header.end.startswith(b"\r\n")
    assert whole in (joined + header.end, joined + header.end[2:])


@pytest.mark.parametrize(
    "block",
    [
        b"a" * 262_144,
        b"a:\r\n" * 65_536,
        b"a:\r\n" + b" \r\n" * 87_000 + b"b",
        b"a: \r\n" + b"\t" * 262_144,
        b"a" + b" " * 262_144,
    ],
    ids=["a name", "fields", "continuations", "white space", "space before no colon"],
)
def test_hostile_blocks_take_linear_time(block: bytes) -> None:
    """The largest header block is split in well under a second, whatever it holds."""
    start = time.process_time()
    HeaderBlock.parse(block)
    assert time.process_time() - start < 1
