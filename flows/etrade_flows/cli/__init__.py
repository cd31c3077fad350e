"""The command `etrade-session`."""
