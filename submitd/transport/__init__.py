"""Sockets and TLS: what drives the pure engine, and its limits of time and number."""
