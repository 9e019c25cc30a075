"""SASL mechanisms (RFC 4422) as pure state machines, one file each."""

from collections.abc import Callable, Mapping

from submitd.smtp.sasl.login import Login
from submitd.smtp.sasl.mechanism import Challenge, Credentials, MalformedResponse, Mechanism
from submitd.smtp.sasl.plain import Plain

__all__ = ["MECHANISMS", "Challenge", "Credentials", "MalformedResponse", "Mechanism"]

MECHANISMS: Mapping[str, Callable[[], Mechanism]] = {"PLAIN": Plain, "LOGIN": Login}
"""By the name in IANA's registry, the preferred one first."""
