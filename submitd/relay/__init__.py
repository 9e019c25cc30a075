"""Relay backends: where messages go."""
