"""What the session takes although the grammar does not have it: names, and for whom.

Each use is counted for its session (`ServerSession.leniencies`) and logged with the
login, so that an operator sees whom a stricter server would turn away.
"""

import enum
from collections.abc import Mapping

import attrs


class Leniency(enum.StrEnum):
    """The name of each, as logs and metrics have it."""

    SPACE_AFTER_COLON = "space-after-colon"
    SPACES_IN_AUTH = "spaces-in-auth"
    EXTRA_SPACES = "extra-spaces"
    TRAILING_SPACE = "trailing-space"
    MISSING_BRACKETS = "missing-brackets"
    BARE_LINE_END = "bare-line-end"


@attrs.frozen(slots=True)
class Rule:
    """One leniency.

    :ivar takes: what is taken.
    :ivar instead_of: what the standard has, and where.
    :ivar needed_by: who sends it.
    :ivar option: the key of the configuration that turns it on or off, or None.
    """

    takes: str
    instead_of: str
    needed_by: str
    option: str | None = None


LENIENCIES: Mapping[Leniency, Rule] = {
    Leniency.SPACE_AFTER_COLON: Rule(
        "MAIL FROM: <a@b.example>, RCPT TO: <a@b.example>",
        "no space after the colon (RFC 5321 §3.3)",
        "scripts, printers, scanners",
    ),
    Leniency.SPACES_IN_AUTH: Rule(
        "AUTH PLAIN, two spaces or more, then the initial response",
        "one space (RFC 4954 §4)",
        "Windows Mail, Windows Phone",
    ),
    Leniency.EXTRA_SPACES: Rule(
        "two spaces or more between a command and its argument",
        "one space (RFC 5321 §4.1.1)",
        "scripts",
    ),
    Leniency.TRAILING_SPACE: Rule(
        "spaces or tabs before the line end of a command",
        "none; RFC 5321 §4.1.1 asks servers to tolerate them",
        "scripts, old versions of Outlook Express",
    ),
    Leniency.MISSING_BRACKETS: Rule(
        "MAIL FROM:a@b.example, RCPT TO:a@b.example",
        "angle brackets around each path (RFC 5321 §4.1.2)",
        "old printers, alarm systems and power supplies",
        option="listener.missing_angle_brackets",
    ),
    Leniency.BARE_LINE_END: Rule(
        "a CR or LF alone within a message, which becomes CRLF",
        "CRLF (RFC 5321 §2.3.8)",
        "scripts on UNIX, PHP",
        option="completion.bare_line_ends",
    ),
}
