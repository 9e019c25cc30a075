"""Other programs' readings of a message: what a next hop or a recipient would see of it."""

import base64
import contextlib
import email
import email.policy
import json
import subprocess
from collections.abc import Iterator
from email.headerregistry import AddressHeader
from email.utils import getaddresses
from pathlib import Path

import attrs

SCRIPT = Path(__file__).with_suffix(".pl")
MODULES = ("Email::MIME", "Email::Address::XS", "Mail::Header", "Mail::Address")


@attrs.frozen
class Reading:
    """What one reader finds.

    :ivar reader: its name.
    :ivar authors: the addresses in each From field, or None where it gave up on one or
        had no way to show one.
    :ivar blind: how many Bcc fields there are.
    :ivar received: the first Received field, without its name.
    """

    reader: str
    authors: list[list[str]] | None
    blind: int
    received: str | None


def python_readings(message: bytes) -> Iterator[Reading]:
    """The readings of Python's two parsers."""
    old = email.message_from_bytes(message, policy=email.policy.compat32)
    lines = ["".join(str(value).splitlines()) for value in old.get_all("From", [])]
    authors = [[address for _name, address in getaddresses([line])] for line in lines]
    # How later versions refuse to read a value, and how raw octets come out.
    given_up = [""] in authors or "\ufffd" in str(authors)
    received = old.get("Received")
    yield Reading(
        "compat32",
        None if given_up else authors,
        len(old.get_all("Bcc", [])),
        None if received is None else str(received),
    )
    new = email.message_from_bytes(message, policy=email.policy.default)
    found: list[list[str]] | None = None
    # Its parser breaks down at dots and comments in some places of a phrase.
    with contextlib.suppress(AttributeError, TypeError):
        fields = new.get_all("From", [])
        assert all(isinstance(field, AddressHeader) for field in fields)
        found = [
            [_from_octets(address.addr_spec, "ascii") for address in field.addresses]
            for field in fields
        ]
    yield Reading("default", found, len(new.get_all("Bcc", [])), new.get("Received"))


def _from_octets(address: str, charset: str) -> str:
    """UTF-8 that was read octet by octet, as text."""
    return address.encode(charset, "surrogateescape").decode("utf-8", "replace")


class PerlReaders:
    """Perl's mail modules, in one process for many messages."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["perl", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @staticmethod
    def missing() -> str | None:
        """Why they can't be used here, or None."""
        command = ["perl", *(f"-M{module}" for module in MODULES), "-e", "1"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return f"needs perl with {', '.join(MODULES)}"
        return None

    def readings(self, message: bytes) -> Iterator[Reading]:
        """The reading of each module."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        # Perl takes \n for the end of a line, as a message has it once it is delivered.
        stdin.write(base64.b64encode(message.replace(b"\r\n", b"\n")) + b"\n")
        stdin.flush()
        for reader, found in json.loads(stdout.readline()).items():
            authors: list[list[str]] | None = None
            if not any(None in field for field in found["authors"]):
                authors = [
                    [_from_octets(address, "latin-1") for address in field]
                    for field in found["authors"]
                ]
            yield Reading(reader, authors, found["bcc"], found["received"])

    def stop(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)
