"""The table of commands: how each is checked before its handler sees it."""

import enum
from collections.abc import Mapping

import attrs

from submitd.smtp import replies
from submitd.smtp.replies import Reply
from submitd.smtp.states import Verb

COMMAND_OCTETS = 2048
"""Longest command line, end included.  RFC 5321 §4.5.3.1.4 has 512, and each extension
may add to it (RFC 1870 26, RFC 6152 17, RFC 4954 500, RFC 3461 some 700)."""

AUTH_OCTETS = 12_288
"""Longest line of an AUTH exchange, the AUTH command included (RFC 4954 §4)."""


class Argument(enum.Enum):
    """What a command takes."""

    NONE = enum.auto()
    OPTIONAL = enum.auto()
    REQUIRED = enum.auto()


@attrs.frozen(slots=True)
class Command:
    """How a command is treated.

    :ivar verb: which one it is.
    :ivar handler: name of the method of `ServerSession` that takes its argument.
    :ivar argument: whether it takes one.
    :ivar missing: the reply when a required argument is missing.
    :ivar octets: longest line.
    :ivar is_junk: whether it brings no message any further, so that a client may say it
        only so often (`Settings.junk_commands_per_connection`).
    """

    verb: Verb
    handler: str
    argument: Argument
    missing: Reply = replies.NEEDS_ARGUMENT
    octets: int = COMMAND_OCTETS
    is_junk: bool = False


COMMANDS: Mapping[bytes, Command] = {
    command.verb.value: command
    for command in (
        Command(Verb.EHLO, "_ehlo", Argument.REQUIRED, replies.BAD_HELO_NAME, is_junk=True),
        Command(Verb.HELO, "_helo", Argument.REQUIRED, replies.BAD_HELO_NAME, is_junk=True),
        Command(Verb.STARTTLS, "_starttls", Argument.NONE),
        Command(Verb.AUTH, "_auth", Argument.REQUIRED, octets=AUTH_OCTETS),
        Command(Verb.MAIL, "_mail_from", Argument.REQUIRED, replies.BAD_MAIL_SYNTAX),
        Command(Verb.RCPT, "_rcpt", Argument.REQUIRED, replies.BAD_RCPT_SYNTAX),
        Command(Verb.DATA, "_data", Argument.NONE),
        Command(Verb.BDAT, "_bdat", Argument.REQUIRED, replies.BAD_BDAT_SYNTAX),
        Command(Verb.RSET, "_rset", Argument.NONE, is_junk=True),
        # RFC 5321 §4.1.1.9: a parameter of NOOP should be ignored.
        Command(Verb.NOOP, "_noop", Argument.OPTIONAL, is_junk=True),
        Command(Verb.VRFY, "_vrfy", Argument.REQUIRED, is_junk=True),
        Command(Verb.EXPN, "_expn", Argument.OPTIONAL),
        Command(Verb.HELP, "_help", Argument.OPTIONAL, is_junk=True),
        Command(Verb.QUIT, "_quit", Argument.NONE),
    )
}
