"""SMTP as pure state machines: bytes in, events out; no socket, clock or log (RFC 5321)."""
