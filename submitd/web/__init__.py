"""What the server shows over HTTP, to the operator alone."""
