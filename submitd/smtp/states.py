"""The states of a server session and its transitions, as tables and nothing else.

`TRANSITIONS[state][verb]` is either the state to go to once the command has been
answered positively, or the reply that refuses the command in that state.
"""

import enum
from collections.abc import Mapping

from submitd.smtp import replies
from submitd.smtp.replies import Reply


class State(enum.StrEnum):
    """Where a session stands between two commands."""

    CLEAR = "clear"
    """No TLS yet, on a STARTTLS listener."""
    HANDSHAKE = "handshake"
    """TLS is being set up; nothing is read as SMTP."""
    SECURED = "secured"
    """TLS, and nothing said (RFC 3207 §4.2)."""
    GREETED = "greeted"
    """EHLO said; AUTH may follow."""
    GREETED_HELO = "greeted-helo"
    """HELO said; without ESMTP there is no AUTH (RFC 4954 §3)."""
    AUTH = "auth"
    """Within an AUTH exchange: lines are responses, not commands."""
    READY = "ready"
    """Logged in, no mail transaction."""
    MAIL = "mail"
    """The reverse-path is known, no recipient yet."""
    RCPT = "rcpt"
    """At least one recipient."""
    DATA = "data"
    """Octets are message, not commands."""
    BDAT = "bdat"
    """Octets are a chunk of the message (RFC 3030)."""
    CHUNKS = "chunks"
    """Between two chunks."""
    CLOSED = "closed"
    """The last reply is on its way."""


class Verb(bytes, enum.Enum):
    """The commands that we know."""

    EHLO = b"EHLO"
    HELO = b"HELO"
    STARTTLS = b"STARTTLS"
    AUTH = b"AUTH"
    MAIL = b"MAIL"
    RCPT = b"RCPT"
    DATA = b"DATA"
    BDAT = b"BDAT"
    RSET = b"RSET"
    NOOP = b"NOOP"
    VRFY = b"VRFY"
    EXPN = b"EXPN"
    HELP = b"HELP"
    QUIT = b"QUIT"


Row = Mapping[Verb, State | Reply]


def _row(state: State, transitions: Mapping[Verb, State | Reply]) -> Row:
    """A state's row: *transitions*, and what is the same in all states."""
    same: Row = {
        Verb.RSET: state,
        Verb.NOOP: state,
        Verb.VRFY: state,
        Verb.EXPN: replies.NOT_IMPLEMENTED,
        Verb.HELP: state,
        Verb.QUIT: State.CLOSED,
    }
    return {verb: transitions[verb] if verb in transitions else same[verb] for verb in Verb}


def _stranger(state: State, auth: State | Reply) -> Row:
    """A state with TLS and without a login, in which there is no mail (RFC 6409 §4.3)."""
    needs_login = (Verb.MAIL, Verb.RCPT, Verb.DATA, Verb.BDAT)
    return _row(
        state,
        {
            Verb.EHLO: State.GREETED,
            Verb.HELO: State.GREETED_HELO,
            Verb.STARTTLS: replies.TLS_ALREADY,
            Verb.AUTH: auth,
            **dict.fromkeys(needs_login, replies.AUTH_REQUIRED),
        },
    )


def _user(
    state: State,
    mail: State | Reply,
    rcpt: State | Reply,
    data: State | Reply,
    bdat: State | Reply,
) -> Row:
    """A state with a login: after it there is no other, and EHLO does not undo it (RFC 4954 §4)."""
    return _row(
        state,
        {
            Verb.EHLO: State.READY,
            Verb.HELO: State.READY,
            Verb.STARTTLS: replies.TLS_ALREADY,
            Verb.AUTH: replies.LOGGED_IN_ALREADY,
            Verb.MAIL: mail,
            Verb.RCPT: rcpt,
            Verb.DATA: data,
            Verb.BDAT: bdat,
            Verb.RSET: State.READY,
        },
    )


TRANSITIONS: Mapping[State, Row] = {
    # RFC 3207 §4: a server that requires STARTTLS answers 530 to all but these.
    State.CLEAR: {
        **dict.fromkeys(Verb, replies.STARTTLS_FIRST),
        **dict.fromkeys((Verb.EHLO, Verb.HELO, Verb.NOOP, Verb.HELP, Verb.RSET), State.CLEAR),
        Verb.STARTTLS: State.HANDSHAKE,
        Verb.AUTH: replies.ENCRYPTION_REQUIRED,
        Verb.QUIT: State.CLOSED,
    },
    State.SECURED: _stranger(State.SECURED, auth=replies.EHLO_FIRST),
    State.GREETED: _stranger(State.GREETED, auth=State.READY),
    State.GREETED_HELO: _stranger(State.GREETED_HELO, auth=replies.HELO_CANNOT_LOG_IN),
    State.READY: _user(
        State.READY,
        mail=State.MAIL,
        rcpt=replies.MAIL_FIRST,
        data=replies.MAIL_FIRST,
        bdat=replies.MAIL_FIRST,
    ),
    # RFC 5321 §4.1.1.4: 503 or 554 to DATA where no recipient was accepted.
    State.MAIL: _user(
        State.MAIL,
        mail=replies.NESTED_MAIL,
        rcpt=State.RCPT,
        data=replies.NO_VALID_RECIPIENTS,
        bdat=replies.NO_VALID_RECIPIENTS,
    ),
    State.RCPT: _user(
        State.RCPT,
        mail=replies.NESTED_MAIL,
        rcpt=State.RCPT,
        data=State.DATA,
        bdat=State.BDAT,
    ),
    # RFC 3030 §2: after BDAT, DATA must not follow; the envelope is closed.
    State.CHUNKS: _user(
        State.CHUNKS,
        mail=replies.NESTED_MAIL,
        rcpt=replies.BDAT_BEGUN,
        data=replies.BDAT_BEGUN,
        bdat=State.BDAT,
    ),
}
"""The states in which commands are read; in the others there are none."""

ENDS: Mapping[State, Mapping[str, State]] = {
    State.HANDSHAKE: {"TLS established": State.SECURED},
    State.AUTH: {"logged in": State.READY, "refused": State.GREETED},
    State.DATA: {"end of data": State.READY},
    State.BDAT: {
        "end of chunk": State.CHUNKS,
        "end of last chunk": State.READY,
        "chunk refused": State.READY,
    },
}
"""What ends the other states, and where that leads; for DATA, whatever the verdict is."""
