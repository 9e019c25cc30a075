"""Policy: what you may send."""
