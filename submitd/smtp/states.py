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


def _row(
    state: State,
    *,
    ehlo: State,
    helo: State,
    starttls: State | Reply,
    auth: State | Reply,
    mail: State | Reply,
    rcpt: State | Reply,
    data: State | Reply,
    bdat: State | Reply | None = None,
    rset: State,
    vrfy: State | Reply | None = None,
) -> Row:
    return {
        Verb.EHLO: ehlo,
        Verb.HELO: helo,
        Verb.STARTTLS: starttls,
        Verb.AUTH: auth,
        Verb.MAIL: mail,
        Verb.RCPT: rcpt,
        Verb.DATA: data,
        Verb.BDAT: bdat or data,
        Verb.RSET: rset,
        Verb.VRFY: vrfy or state,
        Verb.EXPN: vrfy or replies.NOT_IMPLEMENTED,
        Verb.NOOP: state,
        Verb.HELP: state,
        Verb.QUIT: State.CLOSED,
    }


TRANSITIONS: Mapping[State, Row] = {
    # RFC 3207 §4: a server that requires STARTTLS answers 530 to all but these.
    State.CLEAR: _row(
        State.CLEAR,
        ehlo=State.CLEAR,
        helo=State.CLEAR,
        starttls=State.HANDSHAKE,
        auth=replies.ENCRYPTION_REQUIRED,
        mail=replies.STARTTLS_FIRST,
        rcpt=replies.STARTTLS_FIRST,
        data=replies.STARTTLS_FIRST,
        rset=State.CLEAR,
        vrfy=replies.STARTTLS_FIRST,
    ),
    State.SECURED: _row(
        State.SECURED,
        ehlo=State.GREETED,
        helo=State.GREETED_HELO,
        starttls=replies.TLS_ALREADY,
        auth=replies.EHLO_FIRST,
        mail=replies.AUTH_REQUIRED,
        rcpt=replies.AUTH_REQUIRED,
        data=replies.AUTH_REQUIRED,
        rset=State.SECURED,
    ),
    # RFC 6409 §4.3: MAIL needs a login.
    State.GREETED: _row(
        State.GREETED,
        ehlo=State.GREETED,
        helo=State.GREETED_HELO,
        starttls=replies.TLS_ALREADY,
        auth=State.READY,
        mail=replies.AUTH_REQUIRED,
        rcpt=replies.AUTH_REQUIRED,
        data=replies.AUTH_REQUIRED,
        rset=State.GREETED,
    ),
    State.GREETED_HELO: _row(
        State.GREETED_HELO,
        ehlo=State.GREETED,
        helo=State.GREETED_HELO,
        starttls=replies.TLS_ALREADY,
        auth=replies.HELO_CANNOT_LOG_IN,
        mail=replies.AUTH_REQUIRED,
        rcpt=replies.AUTH_REQUIRED,
        data=replies.AUTH_REQUIRED,
        rset=State.GREETED_HELO,
    ),
    # RFC 4954 §4: after a successful AUTH, no other; EHLO does not undo a login.
    State.READY: _row(
        State.READY,
        ehlo=State.READY,
        helo=State.READY,
        starttls=replies.TLS_ALREADY,
        auth=replies.LOGGED_IN_ALREADY,
        mail=State.MAIL,
        rcpt=replies.MAIL_FIRST,
        data=replies.MAIL_FIRST,
        rset=State.READY,
    ),
    State.MAIL: _row(
        State.MAIL,
        ehlo=State.READY,
        helo=State.READY,
        starttls=replies.TLS_ALREADY,
        auth=replies.LOGGED_IN_ALREADY,
        mail=replies.NESTED_MAIL,
        rcpt=State.RCPT,
        # RFC 5321 §4.1.1.4: 503 or 554 where no recipient was accepted.
        data=replies.NO_VALID_RECIPIENTS,
        rset=State.READY,
    ),
    State.RCPT: _row(
        State.RCPT,
        ehlo=State.READY,
        helo=State.READY,
        starttls=replies.TLS_ALREADY,
        auth=replies.LOGGED_IN_ALREADY,
        mail=replies.NESTED_MAIL,
        rcpt=State.RCPT,
        data=State.DATA,
        bdat=State.BDAT,
        rset=State.READY,
    ),
    # RFC 3030 §2: after BDAT, DATA must not follow; the envelope is closed.
    State.CHUNKS: _row(
        State.CHUNKS,
        ehlo=State.READY,
        helo=State.READY,
        starttls=replies.TLS_ALREADY,
        auth=replies.LOGGED_IN_ALREADY,
        mail=replies.NESTED_MAIL,
        rcpt=replies.BDAT_BEGUN,
        data=replies.BDAT_BEGUN,
        bdat=State.BDAT,
        rset=State.READY,
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
