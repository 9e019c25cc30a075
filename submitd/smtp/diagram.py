"""Makes docs/protocol.md: the session as the tables have it, for people to look at.

`python -m submitd.smtp.diagram` writes the page into the source tree; with `--check` it
compares it, and its exit status is 1 where they differ.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from submitd.smtp.commands import COMMANDS, Argument, Command
from submitd.smtp.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from submitd.smtp.replies import Reply
from submitd.smtp.states import ENDS, TRANSITIONS, State, Verb

PAGE = "docs/protocol.md"

_INTRODUCTION = """\
# The protocol

What a client may say, when, and where that leads. This page is made from the tables in
`submitd/smtp/states.py`, `commands.py` and `parameters.py` by `python -m submitd.smtp.diagram`:
the server runs on the same tables. [standards.tsv](standards.tsv) tells which requirement of
which RFC is met where, and which test shows it.

## States

An arrow is a command that was answered positively, or what ends a state in which no commands are
read. Left out: commands that change nothing, and QUIT, which leads to `closed` from everywhere.
"""

_TRANSITIONS = """\

## Every state, every command

A name is the state that a positive answer leads to; a number is the reply that refuses the
command in that state. A negative answer leaves the state as it is.
"""

_COMMANDS = """\

## Commands

Lines end in CRLF and nothing else; the limit counts it. A longer line is answered 500.
"""

_PARAMETERS = """\

## Parameters

Others are answered 555, one that comes twice or with a bad value 501. EHLO lists an extension
only where it can be used: STARTTLS before TLS, AUTH and REQUIRETLS within it, FUTURERELEASE
unless the configuration turns it off.
"""

_BURL = """\

## BURL is not offered

With BURL (RFC 4468) a client names a message, or parts of one, on an IMAP server, and the
submission server fetches it from there (URLAUTH, RFC 4467). submitd leaves it out:

- It would have to log in to the IMAP servers of its users as somebody whom they trust with every
  mailbox. A server that stands open to the Internet should hold no such key.
- It would connect to where a client tells it to. Each address would have to be on a list of the
  operator's, or the server is a way into the network behind it.
- A message would come from a connection that is neither the client's nor encrypted by the
  client's wish, at a pace that a third party sets; limits on size, time and rate, which hold for
  a session, would have to be built once more for it.
- Hardly any client asks for it, and what it saves, sending an attachment up that lies on the
  server already, BDAT doesn't cost much either.

`BURL` is answered 500, as every unknown command.
"""


def _identifier(state: State) -> str:
    return state.value.replace("-", "_")


def arrows() -> dict[tuple[State, State], list[str]]:
    """What leads from one state to another, for each pair that something does."""
    found: dict[tuple[State, State], list[str]] = {}
    for state, row in TRANSITIONS.items():
        for verb, target in row.items():
            if isinstance(target, State) and target not in (state, State.CLOSED):
                # The table has where AUTH leads in the end; the exchange is in between.
                through = State.AUTH if verb is Verb.AUTH else target
                found.setdefault((state, through), []).append(verb.value.decode())
    for state, ends in ENDS.items():
        for what, target in ends.items():
            found.setdefault((state, target), []).append(what)
    return found


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state in State:
        if "-" in state.value:
            yield f'    state "{state.value}" as {_identifier(state)}'
    yield f"    [*] --> {_identifier(State.CLEAR)}: connected, STARTTLS listener"
    yield f"    [*] --> {_identifier(State.HANDSHAKE)}: connected, implicit TLS"
    for (state, target), labels in arrows().items():
        yield f"    {_identifier(state)} --> {_identifier(target)}: {', '.join(labels)}"
    yield "    closed --> [*]"
    yield "```"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(target: State | Reply) -> str:
    return str(target.code) if isinstance(target, Reply) else target.value


def _command(command: Command) -> list[str]:
    argument = {Argument.NONE: "no", Argument.OPTIONAL: "may", Argument.REQUIRED: "yes"}
    return [command.verb.value.decode(), argument[command.argument], f"{command.octets:,}"]


def page() -> str:
    """The text of docs/protocol.md."""
    verbs = list(Verb)
    rows = (
        [f"**{state.value}**", *(_cell(row[verb]) for verb in verbs)]
        for state, row in TRANSITIONS.items()
    )
    parameters = (
        (command, ", ".join(f"`{name}`" for name in known))
        for command, known in (("MAIL", MAIL_PARAMETERS), ("RCPT", RCPT_PARAMETERS))
    )
    lines = [
        *_diagram(),
        _TRANSITIONS,
        *_table(["", *(verb.value.decode() for verb in verbs)], rows),
        _COMMANDS,
        *_table(["command", "argument", "octets"], map(_command, COMMANDS.values())),
        _PARAMETERS,
        *_table(["command", "parameters"], parameters),
    ]
    return f"{_INTRODUCTION}\n" + "\n".join(lines) + f"\n{_BURL}"


def main(arguments: list[str]) -> int:
    """Write the page into the source tree, or with `--check` compare it.

    :returns: the exit status: 1 when `--check` found a difference.
    """
    file = Path(__file__).parents[2] / PAGE
    if arguments != ["--check"]:
        file.write_text(page(), "utf-8")
    elif not file.exists() or file.read_text("utf-8") != page():
        print(f"{PAGE} differs; python -m submitd.smtp.diagram writes it anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
