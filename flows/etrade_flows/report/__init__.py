"""What an operator sees of a session."""
