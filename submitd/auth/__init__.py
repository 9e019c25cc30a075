"""User databases: who you are."""
