"""PLAIN (RFC 4616).

message = [authzid] UTF8NUL authcid UTF8NUL passwd
"""

from submitd.smtp.sasl.mechanism import Challenge, Credentials, MalformedResponse


class Plain:
    """One PLAIN exchange."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Challenge | Credentials:
        """See `submitd.smtp.sasl.Mechanism`."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise MalformedResponse("PLAIN takes authzid NUL authcid NUL passwd")
        try:
            authorization, login, password = (part.decode("utf-8") for part in parts)
        except UnicodeDecodeError:
            raise MalformedResponse("PLAIN is UTF-8") from None
        return Credentials(login, password, authorization)
