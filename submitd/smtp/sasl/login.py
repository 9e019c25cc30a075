"""LOGIN, which no RFC defines (draft-murchison-sasl-login); old clients know nothing else."""

from submitd.smtp.sasl.mechanism import Challenge, Credentials, MalformedResponse


class Login:
    """One LOGIN exchange: the user name, which may come as initial response, then the password."""

    __slots__ = ("_login",)

    def __init__(self) -> None:
        self._login: str | None = None

    def respond(self, response: bytes | None) -> Challenge | Credentials:
        """See `submitd.smtp.sasl.Mechanism`."""
        if response is None:
            # Outlook and others read the prompt: these words are the ones they know.
            return Challenge(b"Username:")
        try:
            text = response.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedResponse("LOGIN is read as UTF-8") from None
        if not text or "\0" in text:
            raise MalformedResponse("LOGIN takes a user name, then a password")
        if self._login is None:
            self._login = text
            return Challenge(b"Password:")
        return Credentials(self._login, text)
