"""The golden dialogues against the bare session, however their octets arrive."""

import pytest

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
