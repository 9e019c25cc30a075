"""What a message is refused with."""

import attrs


@attrs.frozen(slots=True)
class Refused:
    """A message that may not go on.

    :ivar code: the reply code: 554 for what is malformed (RFC 6409 §4.1, §4.2), 552 for
        what is too big, 550 for what the login may not do (§6.1).
    :ivar status: the enhanced status code (RFC 3463): `5.6.0` for content at fault,
        `5.6.7` for addresses beyond ASCII without SMTPUTF8 (RFC 6531 §3.5), `5.3.4` for
        too big, `5.4.6` for a loop, `5.7.1` for what the login may not do.
    :ivar text: the reply's text, ASCII.
    """

    code: int
    status: str
    text: str


class Refusal(Exception):
    """Carries a Refused out of the checks; never leaves `completion.complete`.

    Takes what Refused takes; characters beyond ASCII become question marks.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        self.refused = Refused(code, status, text.encode("ascii", "replace").decode("ascii"))


def malformed(text: str) -> Refusal:
    """The Refusal of a message whose header can't be passed on as it is."""
    return Refusal(554, "5.6.0", text)
