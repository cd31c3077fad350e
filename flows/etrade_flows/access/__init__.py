"""How code gets a session or a client."""
