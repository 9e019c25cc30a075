"""The golden dialogues against the bare session, however their octets arrive."""

import pytest

from submitd.smtp.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from submitd.smtp.states import Verb
from tests.support.dialogue import Dialogue, dialogues
from tests.support.session import SPLITS, BareSession


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dialogue", dialogues(), ids=lambda dialogue: dialogue.name)
def test_dialogue(dialogue: Dialogue, split: str) -> None:
    """Each dialogue goes as written; where its octets were split makes no difference."""
    if dialogue.name.startswith("starttls-injection"):
        # In pieces the octets behind STARTTLS come while the handshake is due, and
        # are the transport's: the live listener sees to those.
        split = "whole"
    dialogue.play(BareSession(SPLITS[split], implicit=dialogue.listener == "implicit"))


def test_every_command_and_parameter_has_a_dialogue() -> None:
    """What a client may say, some dialogue says."""
    said = [step.value for each in dialogues() for step in each.steps if step.kind == "send"]
    commands = {line.split()[0].upper() for line in said if line.strip()}
    words = {
        word.partition("=")[0].upper()
        for line in said
        if line.upper().startswith(("MAIL", "RCPT"))
        for word in line.split()
    }
    assert {verb.value.decode() for verb in Verb} <= commands
    assert {*MAIL_PARAMETERS, *RCPT_PARAMETERS} <= words
