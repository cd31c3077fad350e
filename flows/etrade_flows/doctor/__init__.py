"""What `etrade-session doctor` looks at. `examination` holds the list of checks."""
