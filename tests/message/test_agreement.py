"""Completion held against readers and signatures that nobody here wrote."""

import email
import email.policy
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.message.completion import Completed, CompletionOptions, Facts, complete
from submitd.message.refusal import Refused

FACTS = Facts(
    helo="laptop",
    client_address="192.0.2.1",
    hostname="mail.example.org",
    queue_id="4ABC",
    tls_suite="TLS_AES_256_GCM_SHA384",
    only_recipient=None,
    login="alice",
    login_mailbox=Mailbox("alice", "example.org"),
    now_s=1_763_760_000,
    utc_offset_minutes=0,
    random="r4nd",
)
BODY = b"\r\nFrom: nobody@example.com\r\n.\r\nh\xc3\xa9\r\n\r\nend"


def finish(block: bytes) -> Completed | Refused:
    """Complete a block with policies that refuse nothing but what is malformed."""
    options = CompletionOptions(unqualified_addresses="accept", remove=("X-Gone",))
    return complete(block, FACTS, lambda mailbox: True, "allow", options)


LINES = st.sampled_from(
    [
        *(b"From: a@b.c", b"FROM:d@e.f", b"From : g@h.i", b"From", b"From g@h.i Sat"),
        *(b" From: j@k.l", b"To: v@w.x"),
        *(
            b"Sender: m@n.o",
            b"Subject: x",
            b"Subject : x",
            b"X: y\r\n From: p@q.r",
            b"no colon",
            b" ",
        ),
        *(b"Bcc: s@t.u", b"X-Gone: 1\r\n 2", b"x-gone\t:3", b"Date: today", b"Message-ID: <a@b>"),
        *(b"\xfc: x", b"X: \xfc", b": x", b"X:", b"", b"Received: from x by y; z", b">From: x@y.z"),
    ]
)


def fields_of(block: bytes) -> list[bytes]:
    """Split a block that has whole fields only, in the plain way."""
    fields: list[bytes] = []
    for line in block.split(b"\r\n\r\n")[0].split(b"\r\n"):
        if line.startswith((b" ", b"\t")):
            fields[-1] += b"\r\n" + line
        elif line:
            fields.append(line)
    return fields


@settings(max_examples=500, deadline=None)
@given(st.lists(LINES, max_size=7))
def test_same_block_as_python(lines: list[bytes]) -> None:
    """However odd the header, the completed message has one From for other readers."""
    block = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    completed = finish(block)
    if isinstance(completed, Completed):
        for reader in (email.policy.compat32, email.policy.default):
            read = email.message_from_bytes(completed.header + BODY, policy=reader)
            # Python ends the header at "Subject : x", where others read on.
            assert len(read.get_all("From", [])) == 1 or b"Subject : x" in lines
            assert not read.get_all("Bcc", [])
            assert not read.get_all("X-Gone", [])


NAMES = st.sampled_from(
    [b"X-A", b"Subject", b"DATE", b"Received", b"x-gone", b"Bcc", b"DKIM-Signature"]
)
VALUES = st.binary(max_size=30).map(
    lambda octets: bytes(o for o in octets if o >= 0x20 and o != 0x7F).replace(b"a", b"\r\n\t")
)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, st.sampled_from([b":", b" :", b": "]), VALUES), max_size=12))
def test_fields_come_out_as_they_went_in(fields: list[tuple[bytes, bytes, bytes]]) -> None:
    """All fields but those removed come out byte for byte, in order, with additions on top."""
    raw = [name + colon + value + b"\r\n" for name, colon, value in fields]
    block = b"From: a@b.c\r\n" + b"".join(raw) + b"\r\n"
    completed = finish(block)
    assert isinstance(completed, Completed)
    kept = b"From: a@b.c\r\n" + b"".join(
        line for line, field in zip(raw, fields, strict=True) if field[0] not in (b"Bcc", b"x-gone")
    )
    assert completed.header.endswith(kept + b"\r\n")
    on_top = completed.header.removesuffix(kept + b"\r\n") + b"\r\n"
    added = [field.partition(b":")[0] for field in fields_of(on_top)]
    dated = any(name == b"DATE" for name, _colon, _value in fields)
    assert added == [b"Received", *([] if dated else [b"Date"]), b"Message-ID"]


SIGNED_HEADER = (
    b"From: =?utf-8?q?Alic=C3=A9?= <alice@example.org>\r\n"
    b"To: bob@example.net,\r\n\tCarol <carol@example.com>\r\n"
    b"Subject: a  long\r\n  subject\r\n"
    b"Date: Fri, 21 Nov 2025 22:20:00 +0000\r\n"
    b"Message-ID: <a@example.org>\r\n"
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """A key for one run of the tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize("canonical", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
def test_dkim_signature_still_verifies(
    key: rsa.RSAPrivateKey, canonical: tuple[bytes, bytes]
) -> None:
    """A message with a DKIM signature verifies after completion, Bcc and all."""
    dkim = pytest.importorskip("dkim")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    message = SIGNED_HEADER + b"Bcc: dave@example.com\r\n\r\n" + b"body \r\n\r\nmore\r\n"
    names = [b"from", b"from", b"to", b"subject", b"date", b"message-id"]
    signature = dkim.sign(
        message, b"s", b"example.org", pem, canonicalize=canonical, include_headers=names
    )
    header, _, body = (signature + message).partition(b"\r\n\r\n")
    completed = finish(header + b"\r\n\r\n")
    assert isinstance(completed, Completed)
    assert b"Bcc" not in completed.header
    assert dkim.verify(completed.header + body, dnsfunc=lambda name, timeout=5: record)
    assert not dkim.verify(completed.header + b"x" + body, dnsfunc=lambda name, timeout=5: record)


def test_smime_signature_still_verifies(tmp_path: Path) -> None:
    """A message signed by S/MIME verifies after completion, with OpenSSL's own tool."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "certificate"),
        *("-subj", "/CN=alice/emailAddress=alice@example.org", "-days", "2"),
    )
    (tmp_path / "body").write_bytes(b"Content-Type: text/plain\r\n\r\nhello \r\n.\r\n")
    openssl(
        *("cms", "-sign", "-in", "body", "-out", "signed", "-signer", "certificate"),
        *("-inkey", "key", "-crlfeol"),
    )
    signed = (tmp_path / "signed").read_bytes()
    assert b"\r\n" in signed
    header, _, body = (SIGNED_HEADER + signed).partition(b"\r\n\r\n")
    completed = finish(header + b"\r\n\r\n")
    assert isinstance(completed, Completed)
    verify = ("cms", "-verify", "-CAfile", "certificate", "-purpose", "any", "-in")
    (tmp_path / "completed").write_bytes(completed.header + body)
    openssl(*verify, "completed")
    (tmp_path / "altered").write_bytes(completed.header + body.replace(b"hello", b"hallo"))
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*verify, "altered")
