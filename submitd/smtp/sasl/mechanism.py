"""What a SASL mechanism is (RFC 4422).

A mechanism is given the client's responses, already decoded from base64, and answers
each with a `Challenge` for the client or with the `Credentials` that it has learned.
"""

from typing import Protocol

import attrs


@attrs.frozen(slots=True)
class Challenge:
    """What the client is to be asked next, before base64."""

    data: bytes


@attrs.frozen(slots=True)
class Credentials:
    """What a password mechanism has learned.

    :ivar login: the authentication identity.
    :ivar password: in clear.
    :ivar authorization: whom to act for; empty for the login itself.
    """

    login: str
    password: str = attrs.field(repr=False)
    authorization: str = ""


class MalformedResponse(Exception):
    """The client's response is not in the mechanism's form; answered 501."""


class Mechanism(Protocol):
    """One exchange."""

    def respond(self, response: bytes | None) -> Challenge | Credentials:
        """Take the client's next response.

        :param response: None at the start, when there was no initial response.
        :raises MalformedResponse: when it is not in the mechanism's form.
        """
