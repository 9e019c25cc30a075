"""The configuration file: its model, loading it, writing a sample of it."""
