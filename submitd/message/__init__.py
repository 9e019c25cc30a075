"""Messages (RFC 5322): the header block byte by byte, completion, trace, reports; pure."""
