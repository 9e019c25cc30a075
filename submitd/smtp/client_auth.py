"""The client's side of AUTH (RFC 4954): what to say, line by line."""

from base64 import b64encode
from collections.abc import Set

MECHANISMS = ("PLAIN", "LOGIN")  # in order of preference: PLAIN takes one round trip
# RFC 4954 §4: an initial response must fit into the command line of RFC 5321 §4.5.3.1.4.
COMMAND_OCTETS = 512


def choose(offered: Set[str]) -> str | None:
    """The mechanism to use of those *offered* (in capitals), or None."""
    return next((each for each in MECHANISMS if each in offered), None)


def exchange(mechanism: str, username: str, password: str) -> list[bytes]:
    """The lines to send, without CRLF: the first at once, each other after a 334.

    Both are sent as UTF-8.
    """
    if mechanism == "LOGIN":
        return [b"AUTH LOGIN", b64encode(username.encode()), b64encode(password.encode())]
    response = b64encode(f"\0{username}\0{password}".encode())  # RFC 4616 §2
    command = b"AUTH PLAIN " + response
    if len(command) + 2 > COMMAND_OCTETS:
        return [b"AUTH PLAIN", response]
    return [command]
