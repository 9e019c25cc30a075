"""One mail transaction (RFC 5321 §3.3) from the client's side: what to say, and who got what."""

import enum
import re
from collections import deque
from collections.abc import Sequence

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.client_extensions import (
    AT_ONCE_OCTETS,
    Offer,
    Unfit,
    body_type,
    mail_parameters,
    path,
    rcpt_parameters,
)
from submitd.smtp.client_replies import RawReply, Stage, delivery_status
from submitd.smtp.errors import LocalProtocolError, RemoteProtocolError

Step = tuple[bytes, Stage, int]
"""A command without CRLF, what its reply is, and of which recipient."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NO_ASCII_ADDRESS = Unfit(
    "5.6.7", "the address is not ASCII, and the next hop does not offer SMTPUTF8"
)


class Turn(enum.Enum):
    """What a reply leads to."""

    GO_ON = enum.auto()  # with the steps that are left, if any
    CONTENT = enum.auto()  # the message may be sent
    LONE_DOT = enum.auto()  # it may, but there is nobody left to send it to
    DONE = enum.auto()


class Transaction:
    """Envelope, replies and outcome of one message.

    :param recipients: at least one.
    :param size: octets of the content.
    :param offer: what the next hop is and takes.
    :param reset: whether an earlier transaction was left uncompleted.
    :param now_s: POSIX time in seconds.
    :raises LocalProtocolError: when an address holds control characters.

    :ivar steps: what is left to say.
    :ivar outcome: the recipients that have a final word.
    :ivar begun: whether the next hop said anything about this transaction.
    :ivar body: what the content has to be when it is sent.
    :ivar size: octets of the content as it is stored.
    :ivar ascii_header: whether its header must be ASCII, which isn't known yet.
    :ivar chunked: whether it goes by BDAT (RFC 3030), as one chunk.
    :ivar at_once: whether that chunk needs no reply to wait for.
    """

    def __init__(
        self,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        size: int,
        *,
        offer: Offer,
        reset: bool,
        now_s: float,
    ) -> None:
        extensions = offer.extensions
        self.steps: deque[Step] = deque()
        self.outcome: dict[Mailbox, DeliveryStatus] = {}
        self.begun = False
        self.body = body_type(envelope.body, extensions)
        self.ascii_header = envelope.utf8 and "SMTPUTF8" not in extensions
        self.at_once = (
            size <= AT_ONCE_OCTETS
            and "CHUNKING" in extensions
            and "PIPELINING" in extensions
            and self.body == envelope.body
        )
        self.chunked = self.at_once or self.body == "BINARYMIME"
        self.size = size
        self._next_hop = offer.name
        self._takes_dsn = "DSN" in extensions
        self._takes_deliver_by = "DELIVERBY" in extensions
        self._recipients = recipients
        self._unanswered = 0  # of MAIL and RCPT
        self._accepted = 0
        self._mail_refused = False
        if reset:
            self.steps.append((b"RSET", Stage.RSET, 0))
        unfit = self._envelope_steps(envelope, offer, now_s)
        if unfit is not None:
            self.settle(self.unfit(unfit))
        elif self._unanswered == 1:  # MAIL alone: nobody is left
            self.steps.clear()
        elif not self.chunked:
            self.steps.append((b"DATA", Stage.DATA, 0))

    def _envelope_steps(self, envelope: Envelope, offer: Offer, now_s: float) -> Unfit | None:
        extensions = offer.extensions
        sender, reverse_path = envelope.reverse_path, ""
        if sender is not None:
            as_written = path(sender, extensions)
            if as_written is None:
                return _NO_ASCII_ADDRESS
            reverse_path = as_written
        utf8 = envelope.utf8 and "SMTPUTF8" in extensions
        rcpts: list[Step] = []
        for number, recipient in enumerate(self._recipients):
            forward_path = path(recipient.mailbox, extensions)
            if forward_path is None:
                self.outcome[recipient.mailbox] = self.unfit(_NO_ASCII_ADDRESS)
                continue
            line = f"RCPT TO:<{forward_path}>"
            if recipient.notify is not None or recipient.original is not None:
                line += rcpt_parameters(recipient, extensions)
            utf8 = utf8 or not line.isascii()
            rcpts.append((_command(line), Stage.RCPT, number))
        utf8 = utf8 or not reverse_path.isascii()
        size = self.size if self.body == envelope.body else None
        parameters = mail_parameters(envelope, offer, self.body, size, utf8, now_s)
        if isinstance(parameters, Unfit):
            return parameters
        self.steps.append((_command(f"MAIL FROM:<{reverse_path}>{parameters}"), Stage.MAIL, 0))
        self.steps.extend(rcpts)
        self._unanswered = 1 + len(rcpts)
        return None

    def unfit(self, unfit: Unfit) -> DeliveryStatus:
        """The status for what can't go to this next hop, found without asking it."""
        return DeliveryStatus(Action.FAILED, unfit.status, unfit.reason, self._next_hop)

    def settle(self, status: DeliveryStatus) -> None:
        """The transaction is over: *status* is for all recipients without a final word."""
        for recipient in self._recipients:
            self.outcome.setdefault(recipient.mailbox, status)
        self.steps.clear()

    def answered(self, raw: RawReply, stage: Stage, number: int, *, sent: bool) -> Turn:
        """The next hop's reply to a step, or to the end of data.

        :param sent: whether the content has gone out already.
        :raises RemoteProtocolError: when the reply has no place there.
        """
        if stage is Stage.RCPT or stage is Stage.MAIL:
            self._unanswered -= 1
            if stage is Stage.MAIL:
                self._mail_answered(raw)
            else:
                self._rcpt_answered(raw, number)
            return self._next_turn(sent)
        if stage is Stage.DATA:
            return self._data_answered(raw)
        if 300 <= raw[0] < 400:
            raise RemoteProtocolError(f"{raw[0]} in reply to the end of data")
        if raw[0] < 300 and (self._mail_refused or not self._accepted) and self.chunked:
            raise RemoteProtocolError("content taken after the envelope was refused")
        self.settle(self._status(raw, stage))
        return Turn.DONE

    def _status(self, raw: RawReply, stage: Stage) -> DeliveryStatus:
        return delivery_status(
            raw,
            stage,
            self._next_hop,
            dsn_passed_on=self._takes_dsn,
            deliver_by_passed_on=self._takes_deliver_by,
        )

    def _mail_answered(self, raw: RawReply) -> None:
        self.begun = True
        if raw[0] >= 300:
            self._mail_refused = True
            refusal = self._status(raw, Stage.MAIL)
            for recipient in self._recipients:
                self.outcome.setdefault(recipient.mailbox, refusal)

    def _rcpt_answered(self, raw: RawReply, number: int) -> None:
        mailbox = self._recipients[number].mailbox
        if raw[0] < 300:
            self._accepted += 1
        elif mailbox not in self.outcome:
            self.outcome[mailbox] = self._status(raw, Stage.RCPT)

    def _next_turn(self, sent: bool) -> Turn:
        """After a reply to MAIL or RCPT."""
        if self.steps and self._mail_refused:  # not pipelined: nothing more is said
            self.steps.clear()
            return Turn.DONE
        if self._unanswered or sent:
            return Turn.GO_ON
        if self._accepted and not self._mail_refused:
            return Turn.CONTENT if self.chunked else Turn.GO_ON
        if self.steps or self.chunked:  # what is left is DATA or BDAT, for nobody
            self.steps.clear()
            return Turn.DONE
        return Turn.GO_ON  # DATA was pipelined: its reply is still to come

    def _data_answered(self, raw: RawReply) -> Turn:
        if raw[0] == 354:
            if not self._accepted:
                return Turn.LONE_DOT
            if self._mail_refused:
                # RCPT and DATA were taken all the same: whatever we sent might be kept.
                raise RemoteProtocolError("354 after MAIL was refused")
            return Turn.CONTENT
        if raw[0] < 400:
            raise RemoteProtocolError(f"{raw[0]} in reply to DATA")
        self.settle(self._status(raw, Stage.DATA))
        return Turn.DONE


def _command(line: str) -> bytes:
    """A command line for the wire.

    :raises LocalProtocolError: when it holds a control character; an address from
        elsewhere than the grammar shall not smuggle in a line of its own.
    """
    if _CONTROLS.search(line):
        raise LocalProtocolError(f"control character in {line!r}")
    return line.encode()
