"""One mail transaction (RFC 5321 §3.3) from the client's side: what to say, and who got what."""

import enum
from collections import deque
from collections.abc import Container, Sequence

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.client_replies import RawReply, Stage, delivery_status
from submitd.smtp.errors import LocalProtocolError, RemoteProtocolError

Step = tuple[bytes, Stage, int]
"""A command without CRLF, what its reply is, and of which recipient."""


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
    :param extensions: those that the next hop offers, by keyword.
    :param reset: whether an earlier transaction was left uncompleted.
    :raises LocalProtocolError: when an address holds control characters.

    :ivar steps: what is left to say.
    :ivar outcome: the recipients that have a final word.
    :ivar begun: whether the next hop said anything about this transaction.
    """

    def __init__(
        self,
        reverse_path: Mailbox | None,
        recipients: Sequence[Mailbox],
        size: int,
        body: BodyType,
        *,
        extensions: Container[str],
        next_hop: str,
        reset: bool,
    ) -> None:
        self.steps: deque[Step] = deque()
        self.outcome: dict[Mailbox, DeliveryStatus] = {}
        self.begun = False
        self._next_hop = next_hop
        self._recipients = recipients
        self._accepted = 0
        self._mail_refused = False
        if body != "7BIT" and not (body == "8BITMIME" and "8BITMIME" in extensions):
            # RFC 6152 §3: convert or return; status X.6.3 (RFC 3463 §3.7).
            self.settle(self._failed("5.6.3", f"the next hop does not take {body} content"))
            return
        if reverse_path is not None and not str(reverse_path).isascii():
            self.settle(self._failed("5.6.7", "the sender's address is not ASCII"))
            return
        mail = f"MAIL FROM:<{reverse_path or ''}>"
        if "SIZE" in extensions:
            mail += f" SIZE={size}"  # RFC 1870 §6
        if body == "8BITMIME":
            mail += " BODY=8BITMIME"
        if reset:
            self.steps.append((b"RSET", Stage.RSET, 0))
        self.steps.append((_command(mail), Stage.MAIL, 0))
        for number, mailbox in enumerate(recipients):
            command = f"RCPT TO:<{mailbox}>"
            if command.isascii():
                self.steps.append((_command(command), Stage.RCPT, number))
            else:
                self.outcome[mailbox] = self._failed("5.6.7", "the address is not ASCII")
        if len(self.outcome) == len(recipients):
            self.steps.clear()
        else:
            self.steps.append((b"DATA", Stage.DATA, 0))

    def _failed(self, status: str, reason: str) -> DeliveryStatus:
        return DeliveryStatus(Action.FAILED, status, reason, self._next_hop)

    def settle(self, status: DeliveryStatus) -> None:
        """The transaction is over: *status* is for all recipients without a final word."""
        for mailbox in self._recipients:
            self.outcome.setdefault(mailbox, status)
        self.steps.clear()

    def answered(self, raw: RawReply, stage: Stage, number: int) -> Turn:
        """The next hop's reply to a step, or to the end of data.

        :raises RemoteProtocolError: when the reply has no place there.
        """
        positive = raw[0] < 300
        if stage is Stage.RCPT:
            return self._rcpt_answered(raw, number)
        if stage is Stage.MAIL:
            self.begun = True
            if positive:
                return Turn.GO_ON
            self._mail_refused = True
            refusal = delivery_status(raw, stage, self._next_hop)
            if not self.steps:  # pipelined: the other replies are still to come
                for mailbox in self._recipients:
                    self.outcome.setdefault(mailbox, refusal)
                return Turn.GO_ON
            self.settle(refusal)
            return Turn.DONE
        if stage is Stage.DATA:
            return self._data_answered(raw)
        if 300 <= raw[0] < 400:
            raise RemoteProtocolError(f"{raw[0]} in reply to the end of data")
        self.settle(delivery_status(raw, stage, self._next_hop))
        return Turn.DONE

    def _rcpt_answered(self, raw: RawReply, number: int) -> Turn:
        mailbox = self._recipients[number]
        if raw[0] < 300:
            self._accepted += 1
        elif mailbox not in self.outcome:
            self.outcome[mailbox] = delivery_status(raw, Stage.RCPT, self._next_hop)
        if not self._accepted and len(self.steps) == 1:  # only DATA is left, for nobody
            self.steps.clear()
            return Turn.DONE
        return Turn.GO_ON

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
        self.settle(delivery_status(raw, Stage.DATA, self._next_hop))
        return Turn.DONE


def _command(line: str) -> bytes:
    """A command line for the wire.

    :raises LocalProtocolError: when it isn't printable; an address from elsewhere
        than the grammar shall not smuggle in a line of its own.
    """
    if not line.isprintable():
        raise LocalProtocolError(f"not printable: {line!r}")
    return line.encode("ascii")
