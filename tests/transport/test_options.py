"""The options of listeners and limits: what holds without any."""

from submitd.transport.options import LimitsOptions


def test_default_limits() -> None:
    """Without options a client has the room and the time that RFC 5321 §4.5.3 gives it."""
    limits = LimitsOptions()
    assert limits.message_size_bytes >= 65_536
    assert limits.recipients_per_message >= 100
    assert limits.command_s >= 300
    assert limits.data_s >= 180
